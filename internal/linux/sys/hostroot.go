package sys

import (
	"bytes"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// IsHostRoot reports whether the process with the directory in procfs is root in this process's
// user namespace, with all that this means: a container's root lacks CAP_SYS_ADMIN, or is in
// another namespace.
func IsHostRoot(process string) bool {
	own, err := Stat("/proc/self/ns/user")
	if err != nil {
		return false
	}
	ns, err := Stat(process + "/ns/user")
	if err != nil || ns.Inode != own.Inode || ns.FileSystem != own.FileSystem {
		return false
	}
	text, err := ReadFile(process+"/status", nil)
	return err == nil && isRootStatus(text)
}

// isRootStatus reports whether all uids in /proc/<pid>/status are 0, and CAP_SYS_ADMIN is
// effective.
func isRootStatus(text []byte) bool {
	isRoot, isAdmin := false, false
	for line := range bytes.Lines(text) {
		name, value, _ := strings.Cut(string(line), ":")
		switch name {
		case "Uid":
			isRoot = strings.Join(strings.Fields(value), " ") == "0 0 0 0"
		case "CapEff":
			caps, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
			isAdmin = err == nil && caps>>unix.CAP_SYS_ADMIN&1 != 0
		}
	}
	return isRoot && isAdmin
}
