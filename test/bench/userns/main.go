// Command userns measures userns-shift, and compares it with chown -R, which unlike a shift loses
// capabilities and set-id bits. Compared programs run in turn. It prints medians and their ratios.
// The trees are on a cached ext4 in a file.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"palisade/test/bench/stat"
	"palisade/test/ctr"
)

func main() {
	ctr.MainIsolated("bench", func() (int, error) { return 0, run() })
}

// bench holds the arguments of all measurements.
type bench struct{ program, dir string }

const remap = "100000:100000:65535"

func run() (err error) {
	program := flag.String("program", "bin/userns-shift", "userns-shift")
	files := flag.Int("files", 100_000, "number of files in the compared trees")
	many := flag.Int("many", 1_000_000, "number of files in the large tree, 0 for none")
	rounds := flag.Int("rounds", 9, "number of rounds")
	starts := flag.Bool("starts", false, "only measure first starts of containers")
	only := flag.Bool("compare", false, "only compare with chown -R")
	flag.Parse()
	var b bench
	if b.program, err = filepath.Abs(*program); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "palisade-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	disk := filepath.Join(b.dir, "disk")
	if err := mountDisk(disk, 3**files+*many+1000); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, syscall.Unmount(disk, syscall.MNT_DETACH)) }()
	ours, theirs := filepath.Join(disk, "ours"), filepath.Join(disk, "theirs")
	for _, root := range []string{ours, theirs} {
		if err := createTree(root, *files, *files/100); err != nil {
			return err
		}
	}
	fmt.Printf("%d files on cached ext4, %d CPUs; medians of %d rounds in turn\n", *files,
		runtime.NumCPU(), *rounds)
	if *starts {
		return b.measureStart(theirs, *files, *rounds)
	}
	if err := b.compare(ours, theirs, *files, *rounds); err != nil || *only {
		return err
	}
	if err := b.measureStart(theirs, *files, *rounds); err != nil {
		return err
	}
	err = errors.Join(b.measureVolumes(ours, *rounds), b.measureMount(ours, *rounds), b.measureVerify(ours, *files, *rounds),
		b.measureHook(ours, *rounds))
	if err != nil {
		return err
	}
	if *many == 0 {
		return nil
	}
	return b.measureMany(filepath.Join(disk, "many"), *many)
}

// mountDisk mounts a new ext4 with the given number of inodes on dir.
func mountDisk(dir string, inodes int) error {
	image := dir + ".image"
	err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(image, nil, 0o600),
		os.Truncate(image, 2<<30+int64(inodes)*1024))
	if err != nil {
		return err
	}
	for _, line := range [][]string{
		{"mke2fs", "-q", "-t", "ext4", "-m", "0", "-N", fmt.Sprint(inodes),
			"-E", "lazy_itable_init=0,lazy_journal_init=0", "-F", image},
		{"mount", "-o", "loop", image, dir},
	} {
		if out, err := exec.Command(line[0], line[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(line, " "), err, out)
		}
	}
	return nil
}

// usage is the resource usage of a command.
type usage struct {
	took time.Duration
	// memory is the maximum resident set size in bytes.
	memory int64
}

func call(line ...string) (usage, error) {
	cmd := exec.Command(line[0], line[1:]...)
	start := time.Now()
	out, err := cmd.CombinedOutput()
	r := usage{took: time.Since(start)}
	if err != nil {
		return r, fmt.Errorf("%q: %w: %s", line, err, out)
	}
	if rusage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		r.memory = rusage.Maxrss << 10
	}
	return r, nil
}

// compare shifts and unshifts a tree, and does the same to another one with chown, in turn.
func (b *bench) compare(ours, theirs string, files, rounds int) error {
	var took [4][]time.Duration
	lines := [4][]string{
		{b.program, "shift", "--user-remap", remap, ours},
		{"chown", "-R", "100000:100000", theirs},
		{b.program, "unshift", ours},
		{"chown", "-R", "0:0", theirs},
	}
	for round := range rounds + 1 {
		for i, line := range lines {
			r, err := call(line...)
			if err != nil {
				return err
			}
			if round > 0 { // the first one warms up
				took[i] = append(took[i], r.took)
			}
		}
	}
	for i, name := range []string{"shift", "unshift"} {
		own, rival := stat.Median(took[2*i]), stat.Median(took[2*i+1])
		fmt.Printf("%-8s %8v, %7.0f files/s; chown -R %8v; %.2f of its time\n", name,
			own.Round(time.Millisecond), rate(files, own), rival.Round(time.Millisecond),
			own.Seconds()/rival.Seconds())
	}
	return nil
}

func rate(files int, took time.Duration) float64 { return float64(files) / took.Seconds() }

// measureVerify verifies a shifted tree, and shifts it again, which has nothing to do.
func (b *bench) measureVerify(root string, files, rounds int) error {
	if _, err := call(b.program, "shift", "--user-remap", remap, root); err != nil {
		return err
	}
	var verify, again []time.Duration
	for range rounds {
		for line, took := range map[string]*[]time.Duration{
			"verify": &verify, "shift --user-remap " + remap: &again,
		} {
			r, err := call(append(append([]string{b.program}, strings.Fields(line)...), root)...)
			if err != nil {
				return err
			}
			*took = append(*took, r.took)
		}
	}
	fmt.Printf("nothing to do: verify %v, %.0f files/s; shift %v, %.0f files/s\n",
		stat.Median(verify).Round(time.Millisecond), rate(files, stat.Median(verify)),
		stat.Median(again).Round(time.Millisecond), rate(files, stat.Median(again)))
	return nil
}

// measureMount makes and removes an idmapped mount of the tree.
func (b *bench) measureMount(root string, rounds int) error {
	mapped := filepath.Join(b.dir, "mapped")
	if err := os.Mkdir(mapped, 0o755); err != nil {
		return err
	}
	var took []time.Duration
	for range rounds {
		r, err := call(b.program, "mount", "--hardlinks", "ignore",
			"--user-remap", remap, root, mapped)
		if err != nil {
			return err
		}
		took = append(took, r.took)
		if _, err := call(b.program, "umount", mapped); err != nil {
			return err
		}
	}
	fmt.Printf("idmapped mount: %v\n", stat.Median(took).Round(10*time.Microsecond))
	return nil
}

// measureMany shifts, verifies and unshifts a large tree, and prints times and memory.
func (b *bench) measureMany(root string, files int) error {
	if err := createTree(root, files, files/100); err != nil {
		return err
	}
	for _, line := range [][]string{{"shift", "--user-remap", remap}, {"verify"}, {"unshift"}} {
		r, err := call(append(append([]string{b.program}, line...), root)...)
		if err != nil {
			return err
		}
		fmt.Printf("%d files, %d of them hard links: %-7s %8v, %7.0f files/s, %.1f MiB of memory\n",
			files, files/100, line[0], r.took.Round(time.Millisecond), rate(files, r.took),
			float64(r.memory)/(1<<20))
	}
	return nil
}
