package sys

import (
	"errors"
	"os"
	"syscall"
	"testing"
)

func TestNewUserNamespace(t *testing.T) {
	ids := []syscall.SysProcIDMap{{Size: 1}}
	ns, err := NewUserNamespace(ids, ids)
	if errors.Is(err, os.ErrPermission) {
		t.Skip("only root may create a namespace with setgroups(2)")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	own, err := Stat("/proc/self/ns/user")
	if err != nil {
		t.Fatal(err)
	}
	if inode, err := ns.Inode(); err != nil || inode == own.Number {
		t.Errorf("inode %d, %v, want another than %d", inode, err, own.Number)
	}
	overlapping := append(ids, ids...)
	if _, err := NewUserNamespace(overlapping, ids); err == nil {
		t.Error("ids that are mapped twice were accepted")
	}
}
