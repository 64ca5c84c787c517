/** A made-up exchange: writes down what it is told to do. */
import { BodyGate } from '../../../src/host/gateway/body-gate.js';
import type { BodyListener, Exchange } from '../../../src/host/gateway/exchange.js';

export class FakeExchange implements Exchange {
  readonly method = 'POST';
  readonly target = '';
  readonly host = '';
  readonly headers = [];
  readonly peer = { address: '', port: 0, commonName: undefined };
  readonly secure = false;
  readonly takesPieces = true;
  readonly gate = new BodyGate();
  readonly did: string[] = [];
  unsentBytes = 0;

  get bodyComplete(): boolean {
    return this.gate.complete;
  }
  read(listener: BodyListener): void {
    this.gate.read(listener);
  }
  addHeaders(): void {}
  respond(status: number): void {
    this.did.push(`respond ${status}`);
  }
  begin(status: number): void {
    this.did.push(`begin ${status}`);
  }
  write(text: string): boolean {
    this.did.push(text.trimEnd());
    return true;
  }
  end(): void {
    this.did.push('end');
  }
  abort(): void {
    this.did.push('abort');
    this.gate.close();
  }
  release(): void {
    this.did.push('release');
  }
  send(text: string): void {
    this.gate.data(Buffer.from(text));
  }
}
