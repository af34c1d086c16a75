#!/usr/bin/env bash
# Proves: Python's sysv_ipc attaches a segment where it is told to: at an address, at one rounded down (SHM_RND), for reading
# alone, in two places at a time and in a child at the parent's address; wrong addresses are refused as the kernel refuses them.
# Its semaphores keep their time limits and give back what a killed process held (SEM_UNDO).
. "$(dirname "$0")/client_common.sh"
python=/usr/bin/python3
need $python python3
$python -c 'import sysv_ipc' 2>/dev/null || skip "the module sysv_ipc is not installed (Debian package python3-sysv-ipc)"

client() {
    local line
    cat >"$work/places.py" <<'PYTHON'
import os, signal, sysv_ipc as ipc
size, page = 1 << 20, os.sysconf("SC_PAGE_SIZE")
place = 0x200000000000
one = ipc.SharedMemory(None, ipc.IPC_CREX, size=size)
one.write(b"where it was made")
one.detach()

def try_at(what, memory, address, flags):
    try:
        memory.attach(address, flags)
    except Exception as error:
        return print(what, type(error).__name__, error)
    print(what, memory.address - place, memory.read(17).decode(), memory.number_attached)
    memory.detach()

for name, flags in (("plain", 0), ("rounded", ipc.SHM_RND), ("reading", ipc.SHM_RDONLY)):
    for offset in (0, 123, page, 3 * page + 1):
        try_at(f"{name} {offset}:", one, place + offset, flags)
try_at("beyond the end:", one, 0x7ffffffff000, 0)

# In two places: what one writes the other reads; the third place is taken.
one.attach(place)
two, three = ipc.SharedMemory(one.key), ipc.SharedMemory(one.key)
three.detach()
two.detach()
two.attach(place + 2 * size)
one.write(b"seen twice")
print("twice:", two.read(10).decode(), one.number_attached)
try_at("on top:", three, place + size - page, 0)
try_at("between:", three, place + size, 0)

# A child keeps the places, and leaves.
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    two.write(f"child at {one.address - place}, {two.address - place}".encode())
    os.write(writer, b"%d" % one.number_attached)
    os._exit(0)
os.waitpid(child, 0)
print("child:", os.read(reader, 9).decode(), one.read(19).decode(), one.number_attached)
one.remove()
print("marked:", one.read(5).decode(), two.number_attached)
one.detach()
two.detach()
try_at("gone:", two, place, 0)

# Killed holding it.
semaphore = ipc.Semaphore(None, ipc.IPC_CREX, initial_value=1)
semaphore.undo = True
holder = os.fork()
if holder == 0:
    semaphore.acquire()
    os.write(writer, b"h")
    signal.pause()
os.read(reader, 1)
try:
    semaphore.acquire(0.05)
except ipc.BusyError:
    print("held:", semaphore.value, semaphore.last_pid == holder)
os.kill(holder, signal.SIGKILL)
semaphore.acquire()
print("mine:", semaphore.value, semaphore.last_pid == os.getpid())
os.waitpid(holder, 0)
semaphore.release()
print("free:", semaphore.value, semaphore.waiting_for_nonzero, semaphore.waiting_for_zero)
semaphore.remove()
PYTHON
    timeout 60 $python "$work/places.py" >"$work/out" 2>&1
    expect "exit status" $? 0
    while read -r line; do same "${line%%:*}" "${line#*: }"; done <"$work/out"
    expect "rounded down" "$(grep -c '^rounded 12289: 12288 where it was made 1$' "$work/out")" 1
    expect "between two" "$(grep -c '^between: 1048576 seen twice.* 3$' "$work/out")" 1
    expect "after the holder was killed" "$(sed -n 's/^mine: //p' "$work/out")" "0 True"
    expect "objects left behind" "$(objects_left)" 0
}
run_on_both client sem shm
