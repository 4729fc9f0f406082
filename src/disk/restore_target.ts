/** Where a restore writes to: a block device, or an image file. */
import { constants } from "node:fs";
import { type FileHandle, link, open, rename, rm, unlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { assert, type ErrorCode, IbackupError, messageOf, systemCodeOf } from "../errors.ts";
import { alignedBytes } from "../runtime/aligned.ts";
import { type BlockDevice, describeDevice } from "./block_device.ts";
import {
  busy,
  checkFileTarget,
  type FileTargetOptions,
  ioError,
  lstatOrUndefined,
  refuseOther,
  refuseSmall,
} from "./target_refusals.ts";

export interface RestoreTarget {
  readonly path: string;
  /** True when what is not written reads as zeroes: a new file. */
  readonly startsZeroed: boolean;
  /** Writes whole blocks; what reaches past the end of the backup is cut off. */
  write(offset: number, bytes: Uint8Array): Promise<void>;
  /** Makes a range read as zeroes. */
  zero(offset: number, length: number): Promise<void>;
  /** Fills `bytes` with what is at `offset`; past the end it is filled with zeroes. */
  read(offset: number, bytes: Uint8Array): Promise<void>;
  /** Makes it durable and visible under its name. */
  finish(): Promise<void>;
  /** Gives up; a file that was being made is removed. Safe to call after `finish`. */
  abandon(): Promise<void>;
}

/** What only the kernel can do with an open target. */
export interface TargetKernel {
  zeroRange(offset: number, length: number): Promise<void>;
  rereadPartitions(): Promise<void>;
  close(): Promise<void>;
}

export interface OpeningOptions {
  /** Size of the backup. */
  sizeBytes: number;
  /** Made from the open descriptor; undefined: zeroes are written by hand. */
  kernel: ((descriptor: number) => Promise<TargetKernel>) | undefined;
  /**
   * Throws when it must not be written to. It is open by then, and nothing is changed yet.
   * @param opened A path that leads to what is open, whatever its own leads to by now; undefined for
   *   a new file.
   */
  confirm?: ((opened: string | undefined) => Promise<void>) | undefined;
}

/**
 * Opens a block device for nobody but us.
 * @throws IbackupError TARGET_BUSY when it is mounted or in use, TARGET_TOO_SMALL.
 */
export async function openDeviceTarget(
  device: BlockDevice,
  { sizeBytes, kernel, confirm }: OpeningOptions,
): Promise<RestoreTarget> {
  refuseSmall(device, sizeBytes);
  const handle = await openTarget(
    device.path,
    constants.O_RDWR | constants.O_EXCL | constants.O_DIRECT,
  );
  const granule = Math.max(512, device.logicalBlockBytes);
  const target = { path: device.path, handle, endBytes: Math.ceil(sizeBytes / granule) * granule };
  const isSame = (opened: string | undefined): Promise<void> => {
    refuseOther(device, describeDevice(opened ?? device.path));
    return confirm?.(opened) ?? Promise.resolve();
  };
  const locked = await lockAndConfirm(handle, { kernel, confirm: isSame });
  return new OpenTarget({ ...target, kernel: locked, aligned: true });
}

/**
 * @param options `kernel` is for a file that is written to in place.
 * @throws IbackupError TARGET_BUSY when something is there already and `force` is false.
 */
export async function openFileTarget(
  path: string,
  options: FileTargetOptions & OpeningOptions,
): Promise<RestoreTarget> {
  const present = await checkFileTarget(path, options);
  return present !== undefined && options.inPlace
    ? await openFileInPlace(path, options)
    : await makeFile(path, options);
}

async function openFileInPlace(
  path: string,
  { sizeBytes, kernel, confirm }: OpeningOptions,
): Promise<RestoreTarget> {
  const handle = await openTarget(path, constants.O_RDWR | constants.O_NOFOLLOW);
  const fit = async (opened: string | undefined): Promise<void> => {
    await confirm?.(opened);
    await handle.truncate(sizeBytes);
  };
  const locked = await lockAndConfirm(handle, { kernel, confirm: fit });
  return new OpenTarget({ path, handle, endBytes: sizeBytes, aligned: false, kernel: locked });
}

async function makeFile(
  path: string,
  { sizeBytes, force, confirm }: FileTargetOptions & OpeningOptions,
): Promise<RestoreTarget> {
  await confirm?.(undefined);
  const temporary = join(dirname(path), `.${basename(path)}.ibackup-partial`);
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  const handle = await openTarget(temporary, flags);
  await handle.truncate(sizeBytes);
  const publish = force ? rename : linkInstead;
  return new OpenTarget({ path, temporary, publish, handle, endBytes: sizeBytes, aligned: false });
}

interface TargetParts {
  path: string;
  handle: FileHandle;
  /** Nothing is written from here on. */
  endBytes: number;
  /** True when memory and lengths must suit O_DIRECT. */
  aligned: boolean;
  temporary?: string;
  /** Gives the temporary file its name. */
  publish?: (temporary: string, path: string) => Promise<void>;
  kernel?: TargetKernel | undefined;
}

const ZERO_BYTES_PER_WRITE = 1 << 20;

class OpenTarget implements RestoreTarget {
  readonly path: string;
  readonly startsZeroed: boolean;
  readonly #parts: TargetParts;
  readonly #idleBuffers: Uint8Array[] = [];
  #open = true;

  constructor(parts: TargetParts) {
    this.path = parts.path;
    this.startsZeroed = parts.temporary !== undefined;
    this.#parts = parts;
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    const length = Math.min(bytes.length, this.#parts.endBytes - offset);
    assert(length > 0, "a write begins on the target");
    if (!this.#parts.aligned) return await this.#writeAll(bytes.subarray(0, length), offset);
    const buffer = this.#takeBuffer(length);
    buffer.set(bytes.subarray(0, length));
    await this.#writeAll(buffer.subarray(0, length), offset);
    this.#idleBuffers.push(buffer);
  }

  async zero(offset: number, length: number): Promise<void> {
    const end = Math.min(offset + length, this.#parts.endBytes);
    if (this.#parts.kernel) return await this.#parts.kernel.zeroRange(offset, end - offset);
    for (let at = offset; at < end; at += ZERO_BYTES_PER_WRITE) {
      await this.write(at, new Uint8Array(Math.min(ZERO_BYTES_PER_WRITE, end - at)));
    }
  }

  async read(offset: number, bytes: Uint8Array): Promise<void> {
    const length = Math.min(bytes.length, this.#parts.endBytes - offset);
    const buffer = this.#parts.aligned ? this.#takeBuffer(length) : bytes;
    for (let done = 0; done < length; ) {
      done += await this.#readAt(buffer.subarray(done, length), offset + done);
    }
    if (buffer !== bytes) {
      bytes.set(buffer.subarray(0, length));
      this.#idleBuffers.push(buffer);
    }
    bytes.fill(0, length);
  }

  async finish(): Promise<void> {
    const { handle, kernel, temporary, publish, path } = this.#parts;
    await this.#attempt("write out", () => handle.sync());
    await kernel?.rereadPartitions();
    if (temporary !== undefined) {
      await this.#attempt("give its name to", async () => publish?.(temporary, path));
      await syncFolder(dirname(path));
    }
    await this.#close();
  }

  async abandon(): Promise<void> {
    if (!this.#open) return;
    await this.#close();
    if (this.#parts.temporary !== undefined) await rm(this.#parts.temporary, { force: true });
  }

  async #close(): Promise<void> {
    this.#open = false;
    await this.#parts.kernel?.close();
    await this.#parts.handle.close();
  }

  /** At least `length` bytes of aligned memory. */
  #takeBuffer(length: number): Uint8Array {
    const at = this.#idleBuffers.findIndex((buffer) => buffer.length >= length);
    const [buffer] = at < 0 ? [] : this.#idleBuffers.splice(at, 1);
    return buffer ?? alignedBytes(Math.ceil(length / 4096) * 4096);
  }

  async #writeAll(bytes: Uint8Array, offset: number): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      const rest = bytes.subarray(done);
      const at = offset + done;
      const { bytesWritten } = await this.#attempt(`write ${rest.length} bytes at ${at} of`, () =>
        this.#parts.handle.write(rest, 0, rest.length, at),
      );
      done += bytesWritten;
    }
  }

  async #readAt(bytes: Uint8Array, offset: number): Promise<number> {
    const { bytesRead } = await this.#attempt(`read ${bytes.length} bytes at ${offset} of`, () =>
      this.#parts.handle.read(bytes, 0, bytes.length, offset),
    );
    if (bytesRead > 0) return bytesRead;
    throw ioError(`Cannot read "${this.path}" at ${offset}`, "it ended early");
  }

  async #attempt<T>(action: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw ioError(`Cannot ${action} "${this.path}"`, messageOf(error), error);
    }
  }
}

async function openTarget(path: string, flags: number): Promise<FileHandle> {
  try {
    return await open(path, flags, 0o600);
  } catch (error) {
    const system = systemCodeOf(error);
    if (system === "EBUSY") {
      throw busy(path, "it is mounted or another program has it", "unmount it: `lsblk`, `umount`");
    }
    if (system === "EEXIST") {
      throw busy(path, "another restore writes it, or one was cut off", `remove "${path}" if not`);
    }
    const code: ErrorCode = system === "EACCES" || system === "EPERM" ? "NOT_PERMITTED" : "IO";
    throw new IbackupError(code, `Cannot open the target "${path}"`, {
      why: messageOf(error),
      fix: code === "IO" ? "check the path and the free space" : "run ibackup as root",
      cause: error,
    });
  }
}

/** Closes it when it must not be written to. */
async function lockAndConfirm(
  handle: FileHandle,
  { kernel, confirm }: Pick<OpeningOptions, "kernel" | "confirm">,
): Promise<TargetKernel | undefined> {
  let locked: TargetKernel | undefined;
  try {
    locked = await kernel?.(handle.fd);
    await confirm?.(`/proc/self/fd/${handle.fd}`);
    return locked;
  } catch (error) {
    await locked?.close();
    await handle.close();
    throw error;
  }
}

/** Like rename(2), but fails when something of that name has appeared meanwhile. */
async function linkInstead(temporary: string, path: string): Promise<void> {
  try {
    await link(temporary, path);
  } catch (error) {
    // vfat and the like have no hard links.
    const hasLinks = !["EPERM", "ENOTSUP", "EOPNOTSUPP"].includes(systemCodeOf(error) ?? "");
    if (hasLinks || (await lstatOrUndefined(path)) !== undefined) throw error;
    return await rename(temporary, path);
  }
  await unlink(temporary);
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, constants.O_RDONLY);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
