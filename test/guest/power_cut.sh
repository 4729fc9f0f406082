# Shell functions for guests whose power is cut: a disk that is backed up while it is written to.
#
# vda: the disk. vdb: the repository. vdc: copies of the disk that are no business of ibackup's.
# Sourced by busybox's shell; `/bin/NAME` is a program of the machine that runs the tests.
set -euo pipefail

export IBACKUP_REPO=file:///mnt/repository/backups
disk=/mnt/disk

# result NAME COMMAND...: prints a line that `resultsOf` finds.
result() {
  name=$1
  shift
  document=$("$@")
  echo "result $name $(echo "$document" | tr -d '\n')"
}

# What ibackup keeps in its cache is on a disk too, as on any machine.
mount_repository() {
  mkdir -p /mnt/repository /var/cache/ibackup "$disk"
  mount -t ext4 /dev/vdb /mnt/repository
  mkdir -p -m 700 /mnt/repository/cache
  mount -o bind /mnt/repository/cache /var/cache/ibackup
}

# Past the page cache, and only while nothing is mounted.
copy_disk() {
  /bin/dd if=/dev/vda of=/dev/vdc bs=1M iflag=direct oflag=direct conv=notrunc
}

write_some() {
  dd if=/dev/urandom of="$disk/large" bs=64k count=160
  mkdir -p "$disk/files"
  for number in 1 2 3 4 5 6 7 8; do dd if=/dev/urandom of="$disk/files/$number" bs=30k count=9; done
  sync
}

# Small writes, until the power goes.
write_on() {
  number=0
  while true; do
    number=$((number + 1))
    dd if=/dev/urandom of="$disk/files/new" bs=7k count=3 conv=fsync
    mv "$disk/files/new" "$disk/files/$((number % 8))"
    dd if=/dev/urandom of="$disk/large" bs=4k seek=$((number * 37 % 2000)) count=1 conv=notrunc
    rm -f "$disk/files/$((number % 5))"
  done 2>/dev/null
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
