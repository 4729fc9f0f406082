/** The daemon's socket: where it is, and whose. */
import { chmodSync, lstatSync, rmSync, type Stats } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { geteuid } from "node:process";
import { IbackupError, systemCodeOf } from "../errors.ts";
import { serveOnSocket, type WebServer } from "../runtime/web_server.ts";

const NAME = "daemon.sock";
const BODY_BYTES_MAX = 128 << 10;

/** @param runtimeFolder That only root can enter. */
export function socketPathIn(runtimeFolder: string): string {
  return join(runtimeFolder, NAME);
}

/**
 * @returns False when there is none.
 * @throws IbackupError NOT_PERMITTED when something else is there: nobody talks to a stranger.
 */
export function isSocketThere(path: string): boolean {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return false;
  const fault = faultOf(stats);
  if (fault === undefined) return true;
  throw new IbackupError("NOT_PERMITTED", `Cannot use the socket "${path}"`, {
    why: fault,
    fix: `see who made it, and remove it: \`rm ${path}\``,
  });
}

function faultOf(stats: Stats): string | undefined {
  if (stats.isSymbolicLink()) return "it is a symbolic link";
  if (!stats.isSocket()) return "it is not a socket";
  if (stats.uid !== geteuid?.()) return `it belongs to user ${stats.uid}`;
  return undefined;
}

/**
 * Listens there for root alone. A socket that a killed daemon has left is removed; that no other one
 * comes alive at the same time, the caller has made sure.
 *
 * @throws IbackupError NOT_PERMITTED; LOCKED when a daemon answers there.
 */
export async function listenOn(
  path: string,
  handler: (request: Request) => Response | Promise<Response>,
): Promise<Pick<WebServer, "close">> {
  if (isSocketThere(path)) {
    if (await isAnswered(path)) throw otherDaemon(path);
    rmSync(path);
  }
  const server = serveOnSocket(path, { handler, bodyBytesMax: BODY_BYTES_MAX });
  chmodSync(path, 0o600);
  return {
    close: async () => {
      rmSync(path, { force: true });
      await server.close();
    },
  };
}

/** Whether anybody listens. */
export async function isAnswered(path: string): Promise<boolean> {
  const answer = Promise.withResolvers<boolean>();
  const socket = connect(path);
  socket.on("connect", () => answer.resolve(true));
  socket.on("error", (error) => {
    const isNobody = ["ECONNREFUSED", "ENOENT"].includes(systemCodeOf(error) ?? "");
    if (isNobody) answer.resolve(false);
    else answer.reject(error);
  });
  return await answer.promise.finally(() => socket.destroy());
}

function otherDaemon(path: string): IbackupError {
  return new IbackupError("LOCKED", "Cannot start the daemon", {
    why: `another one answers on ${path}`,
    fix: "see `ibackup status`; one daemon looks after all disks of a machine",
  });
}
