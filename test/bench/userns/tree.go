package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// Numbers of files and directories in a directory, as in the root file system of a distribution.
const (
	filesPerDir = 12
	dirsPerDir  = 10
)

// createTree creates a tree with the given number of files, including directories, symbolic links,
// hard links and set-uid programs. Some files have other owners than root.
func createTree(root string, files, hardLinks int) error {
	t := &treeBuilder{left: files, hardLinks: hardLinks}
	for n := 0; t.left > 0; n++ {
		if err := t.fill(dirPath(root, n)); err != nil {
			return err
		}
	}
	return nil
}

// dirPath returns the path of the directory n. A list of paths would use memory, which counts as
// that of programs that are started (ru_maxrss of getrusage(2) is kept across execve(2)).
func dirPath(root string, n int) string {
	if n == 0 {
		return root
	}
	return fmt.Sprintf("%s/dir%d", dirPath(root, (n-1)/dirsPerDir), (n-1)%dirsPerDir)
}

// treeBuilder creates the files that are left of a tree.
type treeBuilder struct{ left, created, hardLinks int }

func (t *treeBuilder) fill(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	t.left--
	for n := 0; n < filesPerDir && t.left > 0; n++ {
		if err := t.createFile(filepath.Join(dir, fmt.Sprintf("file-%d.txt", n)), n); err != nil {
			return err
		}
		t.left--
		t.created++
	}
	return nil
}

func (t *treeBuilder) createFile(path string, n int) error {
	switch {
	case n == 1:
		return os.Symlink("file-0.txt", path)
	case n == 2 && t.hardLinks > 0:
		t.hardLinks--
		return os.Link(filepath.Join(filepath.Dir(path), "file-0.txt"), path)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if t.created%3000 == 7 {
		return f.Chmod(0o755 | os.ModeSetuid)
	}
	if n == 5 {
		return f.Chown(33, 33)
	}
	return nil
}
