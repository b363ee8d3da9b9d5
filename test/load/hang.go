//go:build !386

package main

import (
	"fmt"
	"os"
	"syscall"
	"unsafe"

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

// mapHanging maps n pages of a hangingFile that it mounts on /tmp/hanging.
func mapHanging(n int) (m missingPages, err error) {
	const dir = "/tmp/hanging"
	if err := os.Mkdir(dir, 0o700); err != nil {
		return m, err
	}
	size := n * os.Getpagesize()
	h := &hangingFile{fuse.NewDefaultRawFileSystem(), uint64(size), make(chan struct{})}
	server, err := fuse.NewServer(h, dir, &fuse.MountOptions{DirectMountStrict: true})
	if err != nil {
		return m, fmt.Errorf("mount FUSE: %w", err)
	}
	go server.Serve()
	if err := server.WaitMount(); err != nil {
		return m, err
	}
	file, err := os.OpenFile(dir+"/file", os.O_RDWR, 0)
	if err != nil {
		return m, err
	}
	defer file.Close()
	memory, err := syscall.Mmap(int(file.Fd()), 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	m.at = unsafe.Pointer(unsafe.SliceData(memory))
	m.waitForFault = func() error { <-h.isRead; return nil }
	return m, os.NewSyscallError("mmap", err)
}
