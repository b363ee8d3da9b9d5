package procfs

import (
	"bytes"

	"palisade/internal/linux/sys"
)

// IsHostRoot reports whether the process with the directory in procfs is root in this process's
// user namespace, with all that this means: a container's root lacks CAP_SYS_ADMIN, or is in
// another namespace.
func IsHostRoot(process string) bool {
	own, err := sys.Stat("/proc/self/ns/user")
	if err != nil {
		return false
	}
	ns, err := sys.Stat(process + "/ns/user")
	if err != nil || ns.Number != own.Number || ns.FileSystem != own.FileSystem {
		return false
	}
	text, err := sys.ReadFile(process+"/status", nil)
	return err == nil && isRootStatus(text)
}

// isRootStatus reports whether all uids in /proc/<pid>/status are 0, and CAP_SYS_ADMIN is
// effective.
func isRootStatus(text []byte) bool {
	t, err := ParseTaskStatus(text)
	hasUIDs := bytes.Contains(append([]byte("\n"), text...), []byte("\nUid:"))
	return err == nil && hasUIDs && t.UIDs == [4]uint32{} && t.Capabilities>>sys.CapSysAdmin&1 != 0
}
