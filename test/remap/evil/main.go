// Command evil is what the root of a hostile container runs: "evil caps FILE" gives the file
// CAP_SETUID, "evil show" prints the uids and capabilities with which it was executed.
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
		caps := make([]byte, 20) // revision 2, effective; a user namespace makes revision 3 of it
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
