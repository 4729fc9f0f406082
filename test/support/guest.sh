# What every script of a guest begins with. The shell is busybox's; `/bin/NAME` is a program of the
# machine that runs the tests.
set -euo pipefail

# result NAME COMMAND...: prints a line that `resultsOf` finds.
result() {
  name=$1
  shift
  document=$("$@")
  echo "result $name $(echo "$document" | tr -d '\n')"
}

# For a flush while files are written. All is slow here: ten seconds are what a second is elsewhere.
frozen="--consistency frozen --freeze-limit 60s --freeze-budget 10s"

# start_writing FOLDER...: small writes to each in turn, which leave the machine time for the rest.
start_writing() {
  : >/run/writing
  # It would keep the output open, and with it the machine running.
  trap 'rm -f /run/writing' EXIT
  write_on "$@" 2>/dev/null &
  writer=$!
}

stop_writing() {
  rm /run/writing
  wait "$writer"
}

write_on() {
  number=0
  while [ -e /run/writing ]; do
    number=$((number + 1))
    for folder; do
      usleep 30000
      dd if=/dev/urandom of="$folder/new" bs=7k count=3 conv=fsync
      mv "$folder/new" "$folder/$((number % 8))"
      dd if=/dev/urandom of="$folder/busy" bs=4k seek=$((number * 37 % 500)) count=1 conv=notrunc
      rm -f "$folder/$((number % 5))"
    done
  done
}
