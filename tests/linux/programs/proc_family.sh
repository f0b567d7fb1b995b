# What children inherit of what /proc shows and sets, and what is seen of a parent that waits.
echo 0x7 > /proc/self/coredump_filter
echo 500 > /proc/self/oom_score_adj
/bin/cat /proc/self/coredump_filter /proc/self/oom_score_adj /proc/self/timerslack_ns
(/bin/cat /proc/self/coredump_filter)
/bin/sh -c 'until read -r _ _ s _ < /proc/$PPID/stat && [ $s = S ]; do :; done; cut -d " " -f 2,3,18,20 /proc/$PPID/stat; cat /proc/$PPID/wchan; echo; cut -d " " -f 1 /proc/$PPID/syscall; cat /proc/self/wchan; echo'
/bin/sh -c 'until read -r _ _ s _ < /proc/$PPID/stat && [ $s = S ]; do :; done; grep -E "^(State|Threads):" /proc/$PPID/status; :'
sleep 100 &
pid=$!
tries=0
until [ "$(cat /proc/$pid/wchan)" = hrtimer_nanosleep ] || [ $((tries += 1)) -gt 1000 ]; do :; done
cat /proc/$pid/comm; cat /proc/$pid/wchan; echo; cut -d ' ' -f 1-3 /proc/$pid/syscall
tr '\\0' ' ' < /proc/$pid/cmdline; echo
readlink /proc/$pid/exe /proc/$pid/cwd
ls /proc/$pid/task | wc -l
grep -c $pid /proc/$$/task/$$/children
kill $pid
wait $pid
echo $?
cat /proc/$pid/comm 2> /dev/null || echo gone
(exit 3) &
pid=$!
sleep 0.2
cut -d ' ' -f 2-3 /proc/self/stat
