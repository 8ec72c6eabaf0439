"""Numbers of the system calls that sandbox.py names, as in the kernel's own headers.

x86-64: asm/unistd_64.h; ARM64: asm-generic/unistd.h; `-`: the machine has no such call.
"""

TABLE = """
name                    x86_64 aarch64
add_key                    248     217
bind                        49     200
bpf                        321     280
chmod                       90       -
chown                       92       -
clock_getres               229     114
clock_gettime              228     113
clock_nanosleep            230     115
clone                       56     220
clone3                     435     435
fadvise64                  221     223
fanotify_init              300     262
fchmod                      91      52
fchmodat                   268      53
fchown                      93      55
fchownat                   260      54
fcntl                       72      25
flock                       73      32
fork                        57       -
fremovexattr               199      16
fsetxattr                  190       7
fstatfs                    138      44
futex                      202      98
futex_waitv                449     449
futimesat                  261       -
get_robust_list            274     100
getpgid                    121     155
getrusage                   98     165
getsid                     124     156
inotify_init               253       -
inotify_init1              294      26
io_uring_setup             425     425
ioctl                       16      29
ioprio_get                 252      31
ioprio_set                 251      30
keyctl                     250     219
kill                        62     129
landlock_add_rule          445     445
landlock_create_ruleset    444     444
landlock_restrict_self     446     446
lchown                      94       -
lremovexattr               198      15
lsetxattr                  189       6
memfd_create               319     279
memfd_secret               447     447
mincore                     27     232
mlock                      149     228
mlock2                     325     284
mlockall                   151     230
mount                      165      40
mq_open                    240     180
msgget                      68     186
open                         2       -
openat                     257      56
openat2                    437     437
pidfd_send_signal          424     424
preadv2                    327     286
prlimit64                  302     261
process_vm_readv           310     270
process_vm_writev          311     271
ptrace                     101     117
pwritev2                   328     287
readahead                  187     213
removexattr                197      14
request_key                249     218
rt_sigqueueinfo            129     138
rt_tgsigqueueinfo          297     240
sched_getaffinity          204     123
sched_getattr              315     275
sched_getparam             143     121
sched_getscheduler         145     120
sched_rr_get_interval      148     127
sched_setaffinity          203     122
sched_setattr              314     274
sched_setparam             142     118
sched_setscheduler         144     119
semget                      64     190
setns                      308     268
setpriority                141     140
setxattr                   188       5
shmget                      29     194
socket                      41     198
statfs                     137      43
sysinfo                     99     179
tgkill                     234     131
timer_create               222     107
tkill                      200     130
truncate                    76      45
unshare                    272      97
utime                      132       -
utimensat                  280      88
utimes                     235       -
vfork                       58       -
"""


def numbers(machine):
    """Name to number for a machine, x86_64 or aarch64."""
    (_, *machines), *rows = (line.split() for line in TABLE.split("\n") if line)
    column = 1 + machines.index(machine)
    return {row[0]: int(row[column]) for row in rows if row[column] != "-"}
