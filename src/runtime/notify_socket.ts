/**
 * Datagrams to the service manager (sd_notify(3)).
 *
 * No runtime has Unix datagram sockets, so Bun calls the C library. Under another runtime nothing is
 * sent: a service of systemd is the Bun binary.
 */
interface ForeignFunctions {
  dlopen(library: string, functions: object): { symbols: Sockets };
  ptr(bytes: Uint8Array): unknown;
}

interface Sockets {
  socket(domain: number, type: number, protocol: number): number;
  sendto(...args: [number, unknown, number, number, unknown, number]): number | bigint;
  close(descriptor: number): number;
  clock_gettime(clock: number, time: unknown): number;
}

export interface NotifySocket {
  /** @returns False when it did not arrive. */
  send(message: string): boolean;
  /** CLOCK_MONOTONIC, in microseconds: the clocks of the runtimes begin with the process. */
  monotonicUs(): bigint;
}

const CLOCK_MONOTONIC = 1;
const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 0x80002;
const MSG_DONTWAIT_NOSIGNAL = 0x4040;
const PATH_BYTES_MAX = 107;

/**
 * @param address A path, or "@name" for the abstract name space.
 * @returns Undefined where it cannot be done.
 */
export async function openNotifySocket(address: string): Promise<NotifySocket | undefined> {
  const target = socketAddress(address);
  if (!("Bun" in globalThis) || target === undefined) return undefined;
  // Not a literal: type checkers of other runtimes do not know the module.
  const module = "bun:ffi";
  const { dlopen, ptr } = (await import(module)) as ForeignFunctions;
  const { symbols } = dlopen("libc.so.6", {
    socket: { args: ["i32", "i32", "i32"], returns: "i32" },
    sendto: { args: ["i32", "ptr", "usize", "i32", "ptr", "u32"], returns: "i64" },
    close: { args: ["i32"], returns: "i32" },
    clock_gettime: { args: ["i32", "ptr"], returns: "i32" },
  });
  const send = (message: string): boolean => {
    const bytes = new TextEncoder().encode(message);
    const descriptor = symbols.socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0);
    if (descriptor < 0) return false;
    const to = [ptr(target), target.length] as const;
    const flags = MSG_DONTWAIT_NOSIGNAL;
    const sent = symbols.sendto(descriptor, ptr(bytes), bytes.length, flags, ...to);
    symbols.close(descriptor);
    return Number(sent) === bytes.length;
  };
  const monotonicUs = (): bigint => {
    const [seconds, nanoseconds] = [0, 1] as const;
    const time = new BigInt64Array(2);
    symbols.clock_gettime(CLOCK_MONOTONIC, ptr(new Uint8Array(time.buffer)));
    return (time[seconds] ?? 0n) * 1_000_000n + (time[nanoseconds] ?? 0n) / 1_000n;
  };
  return { send, monotonicUs };
}

/** A struct sockaddr_un, as long as its address. */
function socketAddress(address: string): Uint8Array | undefined {
  const name = new TextEncoder().encode(address);
  const isAbstract = address.startsWith("@");
  if ((!isAbstract && !address.startsWith("/")) || name.length > PATH_BYTES_MAX) return undefined;
  if (isAbstract) name[0] = 0;
  const bytes = new Uint8Array(2 + name.length + (isAbstract ? 0 : 1));
  bytes[0] = AF_UNIX;
  bytes.set(name, 2);
  return bytes;
}
