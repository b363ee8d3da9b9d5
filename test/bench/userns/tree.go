package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// perDir is how many files a directory has, as in the root file system of a distribution; dirsPerDir how many directories.
const (
	perDir     = 12
	dirsPerDir = 10
)

// makeTree makes a tree of so many files, the directories and links among them: some links, some of them hard, some programs
// with set-id bits. They are of a container's ids.
func makeTree(root string, files, hardLinks int) error {
	t := &maker{left: files, hardLinks: hardLinks}
	for n := 0; t.left > 0; n++ {
		if err := t.fill(dirPath(root, n)); err != nil {
			return err
		}
	}
	return nil
}

// dirPath is the path of a directory by its number. That of the directory in which it is comes before; a list of them would
// take memory, which programs that are started seem to have, too (getrusage(2), ru_maxrss).
func dirPath(root string, n int) string {
	if n == 0 {
		return root
	}
	return fmt.Sprintf("%s/dir%d", dirPath(root, (n-1)/dirsPerDir), (n-1)%dirsPerDir)
}

// maker makes what is left of a tree.
type maker struct{ left, made, hardLinks int }

func (t *maker) fill(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	t.left--
	for n := 0; n < perDir && t.left > 0; n++ {
		if err := t.makeFile(filepath.Join(dir, fmt.Sprintf("file-%d.txt", n)), n); err != nil {
			return err
		}
		t.left--
		t.made++
	}
	return nil
}

func (t *maker) makeFile(path string, n int) error {
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
	if t.made%3000 == 7 {
		return f.Chmod(0o755 | os.ModeSetuid)
	}
	if n == 5 {
		return f.Chown(33, 33)
	}
	return nil
}
