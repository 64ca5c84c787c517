/** The versions this program answers with: its own, and the etcd release whose behaviour it follows. */

/** kvorum's own version; equal to package.json's (a test compares them). */
export const kvorumVersion = '0.1.0';

/** The etcd release whose interface is served: Status.version, /version, cluster version. */
export const etcdVersion = '3.6.14';

/** Cluster and storage version as etcd writes them: major.minor.0. */
export const clusterVersion = '3.6.0';
