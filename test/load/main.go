// Command load runs in the containers of the tests, beside busybox: it uses memory, CPU time and
// disk bandwidth, and reads files in different ways.
package main

import (
	"fmt"
	"os"
	"strconv"
	"time"
)

var commands = map[string]struct {
	usage string
	run   func(args []string) error
}{
	"mem":      {"BYTES: wait for /tmp/take, allocate memory, print ready, and wait", takeMemory},
	"burn":     {"THREADS: use CPU time", burn},
	"sleepers": {"THREADS: start sleeping threads, print ready, and wait", sleepers},
	"write":    {"FILE BYTES: write a file or block device with O_DIRECT, then read it", writeDirect},
	"check":    {"SECONDS THREADS FILE...: read files and count invalid contents", check},
	"time":     {"[FLAG...] ROUNDS FILE...: print statistics of read times (-h: flags)", timeReads},
	"rate":     {"SECONDS THREADS FILE: print the number of reads", countReads},
	"watch":    {"NOTES THREADS PAUSE FILE...: check until NOTES.stop, results in NOTES", watch},
	"print":    {"FILE...: print files, each after its name", printFiles},
	"steady":   {"FILE...: print files that were read while the first did not change", printSteady},
	"sendfile": {"FILE: copy a file to stdout by sendfile(2), or else by read(2)", sendFile},
	"sizes":    {"ROUNDS FILE...: compare st_size of files with their content", checkSizes},
	"pieces":   {"FILE SIZE: copy a file to stdout by reads of SIZE bytes", readPieces},
	"halves":   {"COUNT FILE...: read files in two halves, pause until /tmp/go", readHalves},
	"mmap":     {"FILE: read the first byte of a file by mmap(2)", readByMmap},
	"hold":     {"COUNT FILE...: take locks, leases and watches on files, and wait", hold},
	"events":   {"FILE...: print inotify(7) events of files", printEvents},
	"grab":     {"FILE...: try to get leases on files, and print those granted", grab},
	"lock":     {"DIR...: keep directories locked by listing them", lockDirs},
	"psi":      {"FILE TRIGGER [TIMES]: wait for a trigger, or set it TIMES times", waitForPressure},
	"calls":    {"[PID]...: print sysinfo(2), and sched_getaffinity(2) of this thread and of others", printCalls},
	"callers":  {"SECONDS THREADS TOTALRAM CPUS [PAUSE]: make these calls and count wrong results", countCalls},
	"calltime": {"ROUNDS CALL: print median and p90 of the times of sysinfo, affinity or getppid", timeCalls},
	"badcalls": {"make calls that must fail, and print those that return something else", badCalls},
	"stick":    {"THREADS [FILE]: make calls whose results are never written, print ready, and wait", stickCalls},
	"hang":     {"THREADS: run stick with a file on FUSE, and print ready when it waits for a page", hangFile},
	"churn":    {"SECONDS THREADS: kill processes in calls, and check the memory of others", churn},
	"victim":   {"call|watch: a process of churn", victim},
	"reuse":    {"let a process that is killed in a call have a successor with its pid", reusePID},
	"remap":    {"SECONDS THREADS: make calls while their memory is mapped and unmapped", changeMapping},
}

func main() {
	if len(os.Args) < 2 {
		usage()
	}
	c, ok := commands[os.Args[1]]
	if !ok {
		usage()
	}
	if err := c.run(os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func usage() {
	for name, c := range commands {
		fmt.Fprintf(os.Stderr, "load %s %s\n", name, c.usage)
	}
	os.Exit(2)
}

// number parses the argument i.
func number(args []string, i int) (int, error) {
	if i >= len(args) {
		return 0, fmt.Errorf("missing argument %d", i+1)
	}
	return strconv.Atoi(args[i])
}

// secondsAndThreads parses the first two arguments, and returns the end time.
func secondsAndThreads(args []string) (end time.Time, threads int, err error) {
	seconds, err := number(args, 0)
	if err != nil {
		return time.Time{}, 0, err
	}
	threads, err = number(args, 1)
	return time.Now().Add(time.Duration(seconds) * time.Second), threads, err
}
