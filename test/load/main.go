// Command load runs inside the containers of the tests, where there is no other program than busybox: it takes memory,
// CPU time and disk bandwidth, and reads files as users' programs do.
package main

import (
	"fmt"
	"os"
	"strconv"
)

// commands are what it can do; each returns when it is done.
var commands = map[string]struct {
	usage string
	run   func(args []string) error
}{
	"mem":      {"BYTES: wait for the file /tmp/take, take anonymous memory, say ready, and keep it", takeMemory},
	"burn":     {"THREADS: use as much CPU time as possible", burn},
	"sleepers": {"THREADS: make threads that sleep, say ready, and stay", sleepers},
	"write":    {"FILE BYTES: write to a file or block device past the page cache, then read it", writeDirect},
	"check":    {"SECONDS THREADS FILE...: read the files over and over, and count what is wrong with their texts", check},
	"time":     {"ROUNDS FILE...: read the files in turn and print the median and the 99th percentile of the time of each in nanoseconds", timeReads},
	"rate":     {"SECONDS THREADS FILE: read the file over and over, and print how many times", countReads},
	"watch":    {"NOTES THREADS PAUSE FILE...: read the files over and over, and write what was wrong to NOTES, until there is NOTES.stop", watch},
	"print":    {"FILE...: print the files, each behind its name", printFiles},
	"sendfile": {"FILE: copy a file to stdout by sendfile(2), else by read(2)", sendFile},
	"sizes":    {"ROUNDS FILE...: open, stat and read the files over and over, and fail if a size is not the length of the text", checkSizes},
	"pieces":   {"FILE SIZE: copy a file to stdout by reads of that size", readPieces},
	"halves":   {"COUNT FILE...: open the files that often, and read the first half byte by byte; once /tmp/go is there, the second", readHalves},
	"mmap":     {"FILE: look at the first byte of a file through mmap(2)", lookByMmap},
	"hold":     {"COUNT FILE...: take so many locks and leases on each of the files, and keep them until it is killed", hold},
	"events":   {"FILE...: print what inotify(7) says of the files, until it is killed", printEvents},
	"grab":     {"FILE...: try to get a lease on files, and print each that is granted, until it is killed", grab},
	"lock":     {"DIR...: keep directories locked by listing them, until it is killed", lockDirs},
	"psi":      {"FILE TRIGGER [TIMES]: wait for the pressure trigger, at most 30 s; or set it that many times", waitForPressure},
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

// number is the argument i as a number.
func number(args []string, i int) (int, error) {
	if i >= len(args) {
		return 0, fmt.Errorf("argument %d is missing", i+1)
	}
	return strconv.Atoi(args[i])
}
