/** The kinds of write that are measured, as shell scripts. */

export interface Write {
  kind: string;
  /** What must be there before; not measured. */
  prepare: string;
  change: string;
}

/**
 * Scripts find files of 4 MiB with different random bytes in `$old` and `$new`, are in the folder
 * of the file system, and write to `$file` there.
 */
export const FILE_WRITES: Write[] = [
  { kind: "buffered, new file", prepare: "", change: 'cp "$new" "$file"' },
  {
    kind: "buffered, overwrite",
    prepare: 'cp "$old" "$file"',
    change: 'dd if="$new" of="$file" bs=64k conv=notrunc',
  },
  {
    kind: "append",
    prepare: 'head -c 1000100 "$old" >"$file"',
    change: 'dd if="$new" of="$file" bs=3000 count=700 oflag=append conv=notrunc',
  },
  {
    kind: "O_DIRECT, overwrite",
    prepare: 'cp "$old" "$file"',
    change: 'dd if="$new" of="$file" bs=64k oflag=direct conv=notrunc',
  },
  {
    kind: "mmap, overwrite",
    prepare: 'cp "$old" "$file"',
    change: 'xfs_io -c "mmap -rw 0 4m" -c "mwrite -S 0xcd 0 4m" -c "msync -s" "$file"',
  },
  { kind: "truncate", prepare: 'cp "$old" "$file"', change: 'truncate -s 1000100 "$file"' },
  {
    kind: "punch hole",
    prepare: 'cp "$old" "$file"',
    change: 'fallocate --punch-hole --offset 1M --length 2M "$file"',
  },
  {
    kind: "delete, then fstrim",
    prepare: 'cp "$old" "$file"',
    change: 'rm "$file"; sync "$PWD"; fstrim "$PWD"',
  },
  {
    kind: "create, rename, chmod",
    prepare: 'mkdir "$file.d"; touch "$file".d/old-{1..100}',
    change: [
      'touch "$file".d/new-{1..100}',
      'for i in {1..100}; do mv "$file.d/old-$i" "$file.d/renamed-$i"; done',
      'chmod u-w "$file".d/new-*',
    ].join("\n"),
  },
];

/** As above; `$file` is the disk. */
export const DISK_WRITES: Write[] = [
  { kind: "buffered", prepare: "", change: 'dd if="$new" of="$file" bs=64k conv=notrunc,fsync' },
  {
    kind: "O_DIRECT",
    prepare: "",
    change: 'dd if="$old" of="$file" bs=64k seek=100 oflag=direct conv=notrunc',
  },
  {
    kind: "mmap",
    prepare: "",
    change: 'xfs_io -c "mmap -rw 0 4m" -c "mwrite -S 0xcd 0 4m" -c "msync -s" "$file"',
  },
  {
    kind: "zero a range",
    prepare: 'dd if="$old" of="$file" bs=64k oflag=direct conv=notrunc',
    change: 'blkdiscard --zeroout --offset 1M --length 2M "$file"',
  },
  {
    kind: "discard a range",
    prepare: 'dd if="$old" of="$file" bs=64k oflag=direct conv=notrunc',
    change: 'blkdiscard --offset 1M --length 2M "$file"',
  },
];
