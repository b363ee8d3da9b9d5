package engine

import (
	"errors"
	"os"
	"syscall"
	"testing"
	"time"
)

// RunAsLcr runs a hook with non-blocking pipes, as iSulad's lcr does, and returns its exit code and
// output.
func RunAsLcr(t testing.TB, program string, args []string, state string, env ...string) (code int, output string) {
	t.Helper()
	var in, out [2]int
	for _, pipe := range []*[2]int{&in, &out} {
		if err := syscall.Pipe2(pipe[:], syscall.O_NONBLOCK|syscall.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
	}
	stdin, stdout := os.NewFile(uintptr(in[0]), "stdin"), os.NewFile(uintptr(out[1]), "stdout")
	ours, theirs := os.NewFile(uintptr(in[1]), "state"), os.NewFile(uintptr(out[0]), "output")
	for _, f := range []*os.File{stdin, stdout, ours, theirs} {
		defer f.Close()
	}
	process, err := os.StartProcess(program, args, &os.ProcAttr{Dir: "/", Env: env, Files: []*os.File{stdin, stdout, stdout}})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond) // a read before this fails with EAGAIN
	if _, err := ours.WriteString(state); err != nil {
		t.Error(err)
	}
	ours.Close()
	ended, err := process.Wait()
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 8192)
	n, err := syscall.Read(out[0], buf)
	if err != nil && !errors.Is(err, syscall.EAGAIN) {
		t.Fatal(err)
	}
	return ended.ExitCode(), string(buf[:max(n, 0)])
}
