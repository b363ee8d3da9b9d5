// Command evil is a program for hostile containers: "evil caps FILE" gives the file CAP_SETUID,
// "evil show" prints the uids and capabilities of its process.
package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"syscall"
)

func main() {
	var err error
	if len(os.Args) == 3 && os.Args[1] == "caps" {
		// revision 2, effective; in a user namespace the kernel converts it to revision 3
		caps := make([]byte, 20)
		binary.LittleEndian.PutUint32(caps, 0x02000001)
		binary.LittleEndian.PutUint32(caps[4:], 1<<7)
		err = syscall.Setxattr(os.Args[2], "security.capability", caps, 0)
	} else {
		err = show()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func show() error {
	text, err := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "Uid:") || strings.HasPrefix(line, "CapEff:") {
			fmt.Print(line)
		}
	}
	return err
}
