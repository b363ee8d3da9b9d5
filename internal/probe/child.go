package probe

import (
	"encoding/json"
	"errors"
	"os"
	"path"
	"slices"
	"syscall"

	"palisade/internal/sys"
)

// childArgument makes the program look at the mount point that follows.
const childArgument = "--look-at-lxcfs"

// answer is what a child prints.
type answer struct {
	Dead   bool     `json:",omitempty"`
	Error  string   `json:",omitempty"`
	Files  []string `json:",omitempty"`
	Server *Status  `json:",omitempty"`
}

// Main is to be called first of all by the main function of a program that uses this package: it does the work of a
// process that Look has started, and tells that it was one, and its exit code.
func Main(args []string) (code int, isChild bool) {
	if len(args) != 3 || args[1] != childArgument {
		return 0, false
	}
	if err := json.NewEncoder(os.Stdout).Encode(look(args[2])); err != nil {
		return 1, true
	}
	return 0, true
}

// look asks the file system. The first question is one to which the kernel keeps no answer.
func look(mountpoint string) answer {
	err := sys.Statfs(mountpoint)
	if isDead(err) {
		return answer{Dead: true}
	}
	root, err2 := sys.OpenDir(mountpoint)
	if err = errors.Join(err, err2); err != nil {
		return answer{Error: err.Error()}
	}
	defer root.Close()
	text, err := root.ReadFileAt("proc/uptime", nil)
	if isDead(err) {
		return answer{Dead: true}
	}
	if err != nil {
		return answer{Error: err.Error()}
	}
	if len(text) == 0 {
		return answer{Error: "proc/uptime is empty"}
	}
	a := answer{Files: listFiles(root)}
	var status Status
	if text, err := root.ReadFileAt(StatusFile, nil); err == nil && json.Unmarshal(text, &status) == nil {
		a.Server = &status
	}
	return a
}

func isDead(err error) bool {
	return errors.Is(err, syscall.ENOTCONN) || errors.Is(err, syscall.ECONNABORTED)
}

// listFiles are the files that containers can be given: those of proc, and those of the CPU directory that are not the
// host's.
func listFiles(root sys.File) []string {
	var files []string
	for _, dir := range []string{"proc", "proc/pressure"} {
		d, err := root.OpenDirBelow(dir)
		if err != nil {
			continue
		}
		names, err := d.List()
		if err != nil {
			names = nil
		}
		for _, name := range names {
			if info, err := d.StatAt(name); err == nil && info.IsRegular() {
				files = append(files, path.Join(dir, name))
			}
		}
		d.Close()
	}
	for _, file := range []string{"sys/devices/system/cpu/offline", "sys/devices/system/cpu/online"} {
		if _, err := root.StatAt(file); err == nil {
			files = append(files, file)
		}
	}
	slices.Sort(files)
	return files
}
