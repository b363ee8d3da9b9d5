package lxcfs

import (
	"bytes"
	"syscall"
	"testing"

	"palisade/internal/lxcfs/fusedev"
)

func TestAccess(t *testing.T) {
	f, _ := newMetered(t)
	const user, file, dir = 12345, syscall.S_IFREG, syscall.S_IFDIR
	for _, tt := range []struct {
		name           string
		mode, uid, gid uint32
		mask           uint32
		want           bool
	}{
		{"a user reads", file | 0o444, user, user, mayRead, true},
		{"a user writes", file | 0o444, user, user, mayWrite, false},
		{"a user reads and writes", file | 0o666, user, user, mayRead | mayWrite, true},
		{"a user reads what root may", file | 0o400, user, user, mayRead, false},
		{"root's group reads", file | 0o440, user, 0, mayRead, true},
		{"root's group reads what others may", file | 0o404, user, 0, mayRead, false},
		{"a user goes into a directory", dir | 0o555, user, user, mayExecute, true},
		{"a user goes into root's", dir | 0o700, user, user, mayExecute, false},
		{"root reads a file without read bits", file | 0o200, 0, 0, mayRead, true},
		{"root executes a file", file | 0o444, 0, 0, mayExecute, false},
		{"the file exists", file, user, user, 0, true},
	} {
		if got := isAllowed(tt.mode, tt.uid, tt.gid, tt.mask); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	for _, tt := range []struct {
		name         string
		mode         uint32
		capabilities uint64
		mask         uint32
		want         bool
	}{
		{"none", file | 0o400, 0, mayRead, false},
		{"another", file | 0o400, 1, mayRead, false},
		{"CAP_DAC_OVERRIDE reads", file | 0o400, 2, mayRead, true},
		{"CAP_DAC_OVERRIDE executes", file | 0o400, 2, mayExecute, false},
		{"CAP_DAC_READ_SEARCH reads", file | 0o400, 4, mayRead, true},
		{"CAP_DAC_READ_SEARCH writes", file | 0o600, 4, mayRead | mayWrite, false},
		{"CAP_DAC_READ_SEARCH goes into a directory", dir | 0o700, 4, mayExecute, true},
		{"CAP_DAC_READ_SEARCH writes a directory", dir | 0o700, 4, mayWrite, false},
	} {
		if got := isCapable(tt.mode, tt.capabilities, tt.mask); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	for _, tt := range []struct {
		name  string
		node  uint64
		uid   uint32
		flags uint32
		want  syscall.Errno
	}{
		{"a user reads meminfo", idMeminfo, user, syscall.O_RDONLY, 0},
		{"a user writes meminfo", idMeminfo, user, syscall.O_WRONLY, syscall.EACCES},
		{"root writes meminfo", idMeminfo, 0, syscall.O_RDWR, syscall.EACCES},
		{"a user reads the status", idStatus, user, syscall.O_RDONLY, syscall.EACCES},
		{"root reads the status", idStatus, 0, syscall.O_RDONLY, 0},
		{"a user reads a private status", privateBit | 1<<nodeFileBits | idStatus, user,
			syscall.O_RDONLY, syscall.EACCES},
		{"a user reads a container's file", containerNode{pid: 1, file: idMeminfo}.id(), user,
			syscall.O_RDONLY, syscall.ENOENT},
		{"a removed file", sysfsBit | 1, user, syscall.O_RDONLY, syscall.ENOENT},
	} {
		r := fusedev.Request{Node: tt.node, UID: tt.uid, GID: tt.uid, TID: 1<<22 + 1}
		if _, errno := f.Open(&r, tt.flags); errno != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, errno, tt.want)
		}
	}
}

// TestHostSlabinfo reads the host's slabinfo, also instead of a blocked read: only root gets it.
func TestHostSlabinfo(t *testing.T) {
	f, _ := newMetered(t)
	if f.fixed.node(idSlabinfo) == nil {
		t.Skip("the kernel has no slabinfo, or shows it to root alone")
	}
	for _, uid := range []uint32{0, 12345} {
		r := fusedev.Request{Node: idSlabinfo, UID: uid, GID: uid, TID: 1<<22 + 1}
		number, errno := f.Open(&r, syscall.O_RDONLY)
		if errno != 0 {
			t.Fatalf("user %d opens it: %v", uid, errno)
		}
		read, errno1 := f.Read(&r, number, 0, 1<<20, nil)
		rescued, errno2 := f.Rescue(&r, number|1<<40, 0, 1<<20, nil)
		if errno1 != 0 || errno2 != 0 {
			t.Fatal(errno1, errno2)
		}
		for _, text := range [][]byte{read, rescued} {
			if lines := bytes.Count(text, []byte("\n")); (lines > 2) != (uid == 0) || lines < 2 {
				t.Errorf("user %d reads %d lines", uid, lines)
			}
		}
	}
}
