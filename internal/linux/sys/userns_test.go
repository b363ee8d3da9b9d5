package sys

import (
	"os"
	"syscall"
	"testing"
)

func TestNewUserNamespace(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may map other ids than its own")
	}
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 100000, Size: 65536}}
	ns, err := NewUserNamespace(ids, ids)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	own, err := Stat("/proc/self/ns/user")
	if err != nil {
		t.Fatal(err)
	}
	if inode, err := ns.Inode(); err != nil || inode == own.Inode {
		t.Errorf("inode %d, %v, want another than %d", inode, err, own.Inode)
	}
	overlapping := append(ids, ids...)
	if _, err := NewUserNamespace(overlapping, ids); err == nil {
		t.Error("ids that are mapped twice were accepted")
	}
}
