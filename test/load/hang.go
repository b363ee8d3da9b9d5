//go:build !386

package main

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// hangingFile is a FUSE file system with one file, whose content never arrives.
type hangingFile struct {
	fuse.RawFileSystem
	size   uint64
	isRead chan struct{}
}

// hangingNode is the inode of the file.
const hangingNode = 2

func (h *hangingFile) attr(node uint64) fuse.Attr {
	if node == hangingNode {
		return fuse.Attr{Ino: node, Size: h.size, Mode: syscall.S_IFREG | 0o600, Nlink: 1}
	}
	return fuse.Attr{Ino: node, Mode: syscall.S_IFDIR | 0o700, Nlink: 2}
}

func (h *hangingFile) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	out.Attr = h.attr(in.NodeId)
	return fuse.OK
}

func (h *hangingFile) Lookup(_ <-chan struct{}, _ *fuse.InHeader, _ string, out *fuse.EntryOut) fuse.Status {
	out.NodeId, out.Attr = hangingNode, h.attr(hangingNode)
	return fuse.OK
}

func (h *hangingFile) Open(<-chan struct{}, *fuse.OpenIn, *fuse.OpenOut) fuse.Status { return fuse.OK }

func (h *hangingFile) Read(<-chan struct{}, *fuse.ReadIn, []byte) (fuse.ReadResult, fuse.Status) {
	h.isRead <- struct{}{}
	select {}
}

// hangFile mounts a hangingFile on /tmp/hanging, starts a process of stickCalls with it, and prints
// ready when a page of the file is read. The process must be another one: the kernel holds the lock
// of its memory map while it waits for the page.
func hangFile(args []string) error {
	threads, err := number(args, 0)
	if err != nil {
		return err
	}
	const dir = "/tmp/hanging"
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	h := &hangingFile{fuse.NewDefaultRawFileSystem(), uint64(threads * os.Getpagesize()), make(chan struct{})}
	server, err := fuse.NewServer(h, dir, &fuse.MountOptions{DirectMountStrict: true})
	if err != nil {
		return fmt.Errorf("mount FUSE: %w", err)
	}
	go server.Serve()
	if err := server.WaitMount(); err != nil {
		return err
	}
	caller := exec.Command("/proc/self/exe", "stick", args[0], dir+"/file")
	caller.Stderr = os.Stderr
	if err := caller.Start(); err != nil {
		return err
	}
	<-h.isRead
	fmt.Println("ready")
	select {}
}
