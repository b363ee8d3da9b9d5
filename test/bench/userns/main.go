// Command userns measures what userns-shift costs: beside chown -R of the same tree, which loses what a shift keeps, and by
// itself where there is no rival. What is compared is measured in turn, in one run; medians and their ratios are printed. The trees
// are on a file system of their own, in a file: warm ext4.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"palisade/test/ctr"
)

func main() {
	ctr.MainIsolated("bench", func() (int, error) { return 0, run() })
}

// bench is what all measurements need.
type bench struct{ program, dir string }

const remap = "100000:100000:65535"

func run() (err error) {
	program := flag.String("program", "bin/userns-shift", "userns-shift")
	files := flag.Int("files", 100_000, "how many files the compared trees have")
	many := flag.Int("many", 1_000_000, "how many files the large tree has, 0 for none")
	rounds := flag.Int("rounds", 9, "how often each is measured")
	only := flag.Bool("compare", false, "compare with chown -R only")
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
	if err := mountDisk(disk, 2**files+*many+1000); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, syscall.Unmount(disk, syscall.MNT_DETACH)) }()
	ours, theirs := filepath.Join(disk, "ours"), filepath.Join(disk, "theirs")
	for _, root := range []string{ours, theirs} {
		if err := makeTree(root, *files, *files/100); err != nil {
			return err
		}
	}
	fmt.Printf("%d files on warm ext4, %d processors; medians of %d rounds in turn\n", *files, runtime.NumCPU(), *rounds)
	if err := b.compare(ours, theirs, *files, *rounds); err != nil || *only {
		return err
	}
	if err := errors.Join(b.measureMount(ours, *rounds), b.measureVerify(ours, *files, *rounds), b.measureHook(ours, *rounds)); err != nil {
		return err
	}
	if *many == 0 {
		return nil
	}
	return b.measureMany(filepath.Join(disk, "many"), *many)
}

// mountDisk mounts a new ext4 for so many files.
func mountDisk(dir string, inodes int) error {
	image := dir + ".image"
	if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(image, nil, 0o600), os.Truncate(image, 2<<30+int64(inodes)*1024)); err != nil {
		return err
	}
	for _, line := range [][]string{
		{"mke2fs", "-q", "-t", "ext4", "-m", "0", "-N", fmt.Sprint(inodes), "-E", "lazy_itable_init=0,lazy_journal_init=0", "-F", image},
		{"mount", "-o", "loop", image, dir},
	} {
		if out, err := exec.Command(line[0], line[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(line, " "), err, out)
		}
	}
	return nil
}

// ran is how a command has run.
type ran struct {
	took time.Duration
	// memory is the largest resident set, in bytes.
	memory int64
}

func call(line ...string) (ran, error) {
	cmd := exec.Command(line[0], line[1:]...)
	started := time.Now()
	out, err := cmd.CombinedOutput()
	r := ran{took: time.Since(started)}
	if err != nil {
		return r, fmt.Errorf("%q: %w: %s", line, err, out)
	}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		r.memory = usage.Maxrss << 10
	}
	return r, nil
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

// compare shifts a tree there and back, and has chown do the same to another, in turn.
func (b *bench) compare(ours, theirs string, files, rounds int) error {
	var took [4][]time.Duration
	lines := [4][]string{
		{b.program, "shift", "--user-remap", remap, ours}, {"chown", "-R", "100000:100000", theirs},
		{b.program, "unshift", ours}, {"chown", "-R", "0:0", theirs},
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
		own, rival := median(took[2*i]), median(took[2*i+1])
		fmt.Printf("%-8s %8v, %7.0f files/s; chown -R %8v; %.2f of its time\n", name, own.Round(time.Millisecond), rate(files, own),
			rival.Round(time.Millisecond), own.Seconds()/rival.Seconds())
	}
	return nil
}

func rate(files int, took time.Duration) float64 { return float64(files) / took.Seconds() }

// measureVerify looks at a shifted tree in which all is done.
func (b *bench) measureVerify(root string, files, rounds int) error {
	if _, err := call(b.program, "shift", "--user-remap", remap, root); err != nil {
		return err
	}
	var verify, again []time.Duration
	for range rounds {
		for line, took := range map[string]*[]time.Duration{"verify": &verify, "shift --user-remap " + remap: &again} {
			r, err := call(append(append([]string{b.program}, strings.Fields(line)...), root)...)
			if err != nil {
				return err
			}
			*took = append(*took, r.took)
		}
	}
	fmt.Printf("nothing to do: verify %v, %.0f files/s; shift %v, %.0f files/s\n", median(verify).Round(time.Millisecond),
		rate(files, median(verify)), median(again).Round(time.Millisecond), rate(files, median(again)))
	return nil
}

// measureMount mounts the tree with mapped ids, and takes the mount off.
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
	fmt.Printf("idmapped mount: %v\n", median(took).Round(10*time.Microsecond))
	return nil
}

// measureMany shifts a large tree there and back, and looks at the memory that it takes.
func (b *bench) measureMany(root string, files int) error {
	if err := makeTree(root, files, files/100); err != nil {
		return err
	}
	for _, line := range [][]string{{"shift", "--user-remap", remap}, {"verify"}, {"unshift"}} {
		r, err := call(append(append([]string{b.program}, line...), root)...)
		if err != nil {
			return err
		}
		fmt.Printf("%d files, %d of them hard links: %-7s %8v, %7.0f files/s, %.1f MiB of memory\n", files, files/100, line[0],
			r.took.Round(time.Millisecond), rate(files, r.took), float64(r.memory)/(1<<20))
	}
	return nil
}
