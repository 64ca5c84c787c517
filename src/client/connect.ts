/**
 * A client of etcd servers that run elsewhere, kvorum or etcd alike.
 *
 *     import { connect } from 'kvorum';
 *     const client = connect({ endpoints: ['10.0.0.1:2379', '10.0.0.2:2379'], tls: { ca, cert, key } });
 *     await client.put('greeting', 'hello');
 *     client.close();
 *
 * With `username` and `password` it logs in before its first call, and again when its token is over.
 */
import { EtcdClient } from './client.js';
import { type ConnectOptions, RemoteChannel } from './remote.js';

export type { ConnectOptions, TlsOptions } from './remote.js';

/** A client of the servers at `endpoints`. Nothing is opened before the first call; TypeError for what is no endpoint. */
export function connect(options: ConnectOptions): EtcdClient {
  return new EtcdClient(new RemoteChannel(options));
}
