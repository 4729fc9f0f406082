# Shell functions for guests whose power is cut: a disk that is backed up while it is written to.
#
# vda: the disk. vdb: the repository. vdc: copies of the disk that are no business of ibackup's, the
# first one as it was settled, the second one as it was frozen.

export IBACKUP_REPO=file:///mnt/repository/backups
disk=/mnt/disk

# What ibackup keeps in its cache is on a disk too, as on any machine.
mount_repository() {
  mkdir -p /mnt/repository /var/cache/ibackup "$disk"
  mount -t ext4 /dev/vdb /mnt/repository
  mkdir -p -m 700 /mnt/repository/cache
  mount -o bind /mnt/repository/cache /var/cache/ibackup
}

# Past the page cache, and only while nothing is mounted, or all stands still.
copy_disk="/bin/dd if=/dev/vda of=/dev/vdc bs=1M iflag=direct oflag=direct conv=notrunc"

flush_frozen() {
  ibackup flush /dev/vda --json $frozen --frozen "$copy_disk seek=64"
}

write_some() {
  dd if=/dev/urandom of="$disk/large" bs=64k count=160
  mkdir -p "$disk/files"
  for number in 1 2 3 4 5 6 7 8; do dd if=/dev/urandom of="$disk/files/$number" bs=30k count=9; done
  sync
}

# How long this machine has been running, in hundredths of a second.
uptime_hundredths() {
  read -r up rest </proc/uptime
  echo "${up%.*}${up#*.}"
}

# cut_power_in HUNDREDTHS: asks for it, that much later.
cut_power_in() {
  usleep "${1}0000"
  echo "cut the power"
}
