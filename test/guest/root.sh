# Shell functions for guests whose root is on a disk: vda. vdb: a repository. vdc: copies of vda that
# are no business of ibackup's.

export IBACKUP_REPO=file:///mnt/repository/backups
own_repository=file:///var/backups/own

# flush_root ROUND [OPTION...]: the hook copies the disk while it is frozen.
flush_root() {
  copy="/bin/dd if=/dev/vda of=/dev/vdc bs=1M seek=$(($1 * 256)) iflag=direct oflag=direct conv=notrunc"
  shift
  ibackup flush /dev/vda --json $frozen --frozen "$copy" "$@"
  # What would still be frozen would block this.
  timeout 30 sh -c 'date >/srv/thawed && sync'
}

flush_elsewhere() {
  mkdir -p /mnt/repository
  mount -t ext4 /dev/vdb /mnt/repository
  ibackup init --no-encryption
  dd if=/dev/urandom of=/srv/large bs=64k count=128
  ibackup track start /dev/vda
  start_writing /srv
  result base flush_root 0
  result incremental flush_root 1
}

# Without ibackup's own 60 MB the root is small: each backup of it that lies on it is written twice.
flush_to_itself() {
  ibackup init --no-encryption --repo "$own_repository"
  mkdir /run/bin
  mv /bin/ibackup /run/bin/
  PATH=/run/bin:$PATH
  /bin/fstrim /
  result own-base flush_root 2 --repo "$own_repository"
  result own-incremental flush_root 3 --repo "$own_repository"
}

end() {
  stop_writing
  umount /mnt/repository
}
