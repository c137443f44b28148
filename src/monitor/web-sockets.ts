/**
 * The WebSockets of the monitor: which paths take them, and that they end.
 *
 * Contract: only paired machines get here (listener.ts). Messages are bounded and not compressed.
 */
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import { PenstockError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { Peer } from '../channel/net/peers.ts';
import type { MonitorSocket } from './context.ts';
import { errorAnswer } from './error-answers.ts';
import { refuseUpgrade } from './listener.ts';

interface Path {
  readonly pattern: RegExp;
  readonly accept: (connection: MonitorSocket) => void;
}

export class WebSockets {
  readonly #paths: Path[] = [];
  readonly #open = new Set<WebSocket>();
  readonly #server = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: LIMITS.monitorMessageBytesMax,
  });

  add(pattern: RegExp, accept: (connection: MonitorSocket) => void): void {
    this.#paths.push({ pattern, accept });
  }

  /** Answers a request for a WebSocket. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, peer: Peer): void {
    const [path = ''] = (request.url ?? '').split('?');
    const found = this.#match(path);
    if (found === undefined) {
      const error = new PenstockError(
        'NOT_SUPPORTED',
        'this version of the monitor has no such route',
      );
      refuseUpgrade(socket, { ...errorAnswer(error), status: 404 });
      return;
    }
    (socket as Socket).setTimeout(0);
    (socket as Socket).setKeepAlive(true, LIMITS.monitorKeepMs);
    this.#server.handleUpgrade(request, socket, head, (webSocket) => {
      this.#open.add(webSocket);
      // Without a listener an error of one connection would end the daemon.
      webSocket.on('error', () => webSocket.terminate());
      webSocket.on('close', () => this.#open.delete(webSocket));
      found.accept({ socket: webSocket, request, peer, groups: found.groups });
    });
  }

  /** Says goodbye to everybody. */
  close(): void {
    for (const socket of this.#open) socket.close(1001, 'the monitor ends');
    this.#server.close();
  }

  #match(
    path: string,
  ): { accept: Path['accept']; groups: Readonly<Record<string, string>> } | undefined {
    for (const { pattern, accept } of this.#paths) {
      const match = pattern.exec(path);
      if (match === null) continue;
      try {
        const groups = Object.entries(match.groups ?? {}).map(
          ([name, text]) => [name, decodeURIComponent(text)] as const,
        );
        return { accept, groups: Object.fromEntries(groups) };
      } catch {
        // Not encoded rightly.
        return undefined;
      }
    }
    return undefined;
  }
}
