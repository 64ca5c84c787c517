/** comlink ships its ES modules without types that a Node resolution finds. */
declare module 'comlink/dist/esm/node-adapter.mjs' {
  import type { MessagePort, Worker } from 'node:worker_threads';
  import type { Endpoint } from 'comlink';

  export default function nodeEndpoint(port: Worker | MessagePort): Endpoint;
}

declare module 'comlink/dist/esm/comlink.mjs' {
  export * from 'comlink';
}
