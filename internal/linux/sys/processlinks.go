package sys

import (
	"iter"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// ProcessLinks yields the links in procfs to the files that a process uses: the program, and the
// working directory, root directory and open files of all threads. It yields nothing for a process
// that has ended.
func ProcessLinks(pid int) iter.Seq[string] {
	return func(yield func(string) bool) {
		process := "/proc/" + strconv.Itoa(pid)
		if !yield(process + "/exe") {
			return
		}
		tasks, _ := ListNumbers(process + "/task")
		for _, task := range tasks {
			dir := process + "/task/" + strconv.Itoa(task)
			if task == pid || !shares(pid, task, kcmpFS) {
				if !yield(dir+"/cwd") || !yield(dir+"/root") {
					return
				}
			}
			if task != pid && shares(pid, task, kcmpFiles) {
				continue
			}
			files, _ := ListNumbers(dir + "/fd")
			for _, file := range files {
				if !yield(dir + "/fd/" + strconv.Itoa(file)) {
					return
				}
			}
		}
	}
}

// ListNumbers returns the numeric names in the directory at path.
func ListNumbers(path string) (numbers []int, err error) {
	entries, err := os.ReadDir(path)
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil {
			numbers = append(numbers, n)
		}
	}
	return numbers, err
}

// Resource types of kcmp(2), from linux/kcmp.h.
const (
	kcmpFiles = 2 // the descriptor table
	kcmpFS    = 3 // the root and working directories
)

// shares reports whether two threads share a resource. It is false if the kernel has no kcmp(2).
func shares(a, b, resource int) bool {
	order, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(a), uintptr(b), uintptr(resource),
		0, 0, 0)
	return errno == 0 && order == 0
}
