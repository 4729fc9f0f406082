# Shell functions for guests: one device of each kind that is stacked on others, and writes to it.
#
# vda: two partitions, the second one raw. vdb: LVM. vdc: crypt. vdd: thin. vde, vdf: raid 1.
# vdg: linear. vdh: the repository. vdi: copies that are no business of ibackup's.

export IBACKUP_REPO=file:///mnt/repository/backups
devices="/dev/vda /dev/vdb /dev/mapper/vg-data /dev/mapper/crypt /dev/mapper/thin /dev/md0 /dev/mapper/linear"
# Each has room for an ext4 of 16 MiB, and behind it for raw writes.
mounted="/dev/vda1 /dev/mapper/vg-data /dev/mapper/crypt /dev/mapper/thin /dev/md0 /dev/mapper/linear"
file_system_size=16M
key=$(printf '%064d' 0 | tr 0 7)

# There is no udev here.
lvm() {
  /bin/lvm "$@" --config 'activation { udev_sync=0 udev_rules=0 monitoring=0 }
    devices { obtain_device_list_from_udev=0 external_device_info_source="none" }'
}

# map NAME: makes a device of the table on standard input. Its uuid makes it known after a reboot.
map() {
  /bin/dmsetup create --noudevsync --uuid "test-$1" "$1"
  /bin/dmsetup mknodes "$1"
}

assemble_linear() {
  printf '%s\n' '0 24576 linear /dev/vdg 24576' '24576 24576 linear /dev/vdg 0' | map linear
}

assemble_crypt() {
  echo "0 49152 crypt aes-xts-plain64 $key 0 /dev/vdc 0 1 allow_discards" | map crypt
}

# 2 MiB for the pool's metadata, the rest for data, in blocks of 64 KiB; its volume is larger.
assemble_pool() {
  echo '0 4096 linear /dev/vdd 0' | map pool-metadata
  echo '0 45056 linear /dev/vdd 4096' | map pool-data
  echo '0 45056 thin-pool /dev/mapper/pool-metadata /dev/mapper/pool-data 128 0' | map pool
}

assemble_thin() {
  echo '0 49152 thin /dev/mapper/pool 0' | map thin
}

create_thin() {
  dd if=/dev/zero of=/dev/vdd bs=4k count=1
  assemble_pool
  /bin/dmsetup message pool 0 'create_thin 0'
  assemble_thin
}

# A volume of two segments that are no neighbours.
create_volume() {
  lvm pvcreate --quiet /dev/vdb
  lvm vgcreate --quiet --physicalextentsize 1M vg /dev/vdb
  lvm lvcreate --quiet --name data --size 10M vg
  lvm lvcreate --quiet --name between --size 1M vg
  lvm lvextend --quiet --size 22M vg/data
  lvm vgmknodes
}

create_raid() {
  /bin/mdadm --create /dev/md0 --run --level=1 --raid-devices=2 --metadata=1.2 --bitmap=internal \
    --assume-clean /dev/vde /dev/vdf
}

create_all() {
  assemble_linear
  assemble_crypt
  create_thin
  create_volume
  create_raid
}

# In another order than they were made, so that they get other numbers.
assemble_all() {
  lvm vgchange --quiet --activate y vg
  lvm vgmknodes
  assemble_pool
  assemble_thin
  assemble_crypt
  assemble_linear
  /bin/mdadm --assemble --run /dev/md0 /dev/vde /dev/vdf
}

stop_all() {
  /bin/mdadm --stop /dev/md0
  lvm vgchange --quiet --activate n vg
  for name in thin pool pool-data pool-metadata crypt linear; do
    /bin/dmsetup remove --noudevsync "$name"
  done
}

mount_repository() {
  mkdir -p /mnt/repository
  mount -t ext4 /dev/vdh /mnt/repository
}

make_file_systems() {
  for device in $mounted; do
    size=$file_system_size
    /bin/mke2fs -q -t ext4 -b 4096 -E lazy_itable_init=0,lazy_journal_init=0 "$device" "$size"
  done
}

folder_of() {
  echo "/mnt/${1##*/}"
}

mount_all() {
  for device in $mounted; do
    folder=$(folder_of "$device")
    mkdir -p "$folder"
    mount -t ext4 "$device" "$folder"
  done
}

unmount_all() {
  for device in $mounted; do umount "$(folder_of "$device")"; done
}

fill_all() {
  for device in $mounted; do
    folder=$(folder_of "$device")
    for name in old gone moved cut holes; do dd if=/dev/urandom of="$folder/$name" bs=64k count=20; done
  done
  sync
}

# One of each kind of write.
change() {
  dd if=/dev/urandom of="$1/new$2" bs=64k count=12
  dd if=/dev/urandom of="$1/old" bs=4k seek=100 count=10 conv=notrunc
  /bin/dd if=/dev/urandom of="$1/old" bs=4k seek=200 count=16 conv=notrunc oflag=direct
  /bin/dd if=/dev/urandom of="$1/old" bs=512 seek=9 count=3 conv=notrunc oflag=sync
  dd if=/dev/urandom bs=1000 count=7 >>"$1/old"
  truncate -s "${2}0000" "$1/cut"
  /bin/fallocate --punch-hole --offset 65536 --length 131072 "$1/holes"
  /bin/fallocate --zero-range --offset 524288 --length 65536 "$1/holes"
  mkdir "$1/folder$2"
  if [ "$2" = 1 ]; then
    rm "$1/gone"
    mv "$1/moved" "$1/folder1/here"
  fi
  sync
  /bin/fstrim "$1"
}

# change_all N
change_all() {
  for device in $mounted; do change "$(folder_of "$device")" "$1"; done
}

# Behind the file system: single blocks, a run, the last sector, zeroes, and blocks given back.
write_raw() {
  last=$(($(blockdev --getsz "$1") - 1))
  start=${2:-4096}
  for at in 3 77 1001; do
    /bin/dd if=/dev/urandom of="$1" bs=4k seek=$((start + at)) count=1 oflag=direct
  done
  /bin/dd if=/dev/urandom of="$1" bs=64k seek=$((start / 16 + 8)) count=16 oflag=direct
  /bin/dd if=/dev/urandom of="$1" bs=512 seek="$last" count=1 oflag=direct
  dd if=/dev/urandom of="$1" bs=4k seek=$((start + 700)) count=9 conv=notrunc
  /bin/blkdiscard --zeroout --offset $(((start + 150) * 4096)) --length 131072 "$1"
  /bin/blkdiscard --force --offset $(((start + 256) * 4096)) --length 262144 "$1"
  sync
}

write_raw_all() {
  write_raw /dev/vda2 0
  for device in $mounted; do
    case $device in
    /dev/vda1) ;;
    *) write_raw "$device" ;;
    esac
  done
}

# copy ROUND DEVICE: every 32 MiB of vdi one device, 256 MiB a round. A file, so that hooks find it.
cat >/run/copy <<COPY
place=\$((\$1 * 256))
for device in $devices; do
  [ "\$device" != "\$2" ] || break
  place=\$((place + 32))
done
/bin/dd if="\$2" of=/dev/vdi bs=1M seek=\$place iflag=direct oflag=direct conv=notrunc
COPY

# copy_all ROUND
copy_all() {
  for device in $devices; do sh /run/copy "$1" "$device"; done
}

# All devices, each as it stands still while its file system is written to.
flush_frozen() {
  ibackup flush $devices --json $frozen --frozen 'sh /run/copy 2 "$IBACKUP_DEVICE"'
}

folders_of_all() {
  for device in $mounted; do folder_of "$device"; done
}
