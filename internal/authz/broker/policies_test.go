package broker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"palisade/internal/authz/action"
	"palisade/internal/authz/policy"
	"palisade/internal/linux/sys"
)

// named returns a file with one policy, which grants all actions to all users.
func named(name string) string {
	return fmt.Sprintf(`{"name":%q,"users":[""],"actions":[""]}`+"\n", name)
}

// currentName returns the name of the current policy.
func (f *fixture) currentName() string {
	pull := policy.ActionRequest(action.ForIsulad("pull"), nil)
	d := f.policies.Current().Decide(policy.Identity{User: "alice"}, pull)
	if d.Policy == nil {
		return ""
	}
	return d.Policy.Name
}

// TestReload changes the file in the ways in which users and programs do.
func TestReload(t *testing.T) {
	t.Parallel()
	f := serve(t, named("first"))
	f.watch(t)
	becomes := func(name string) {
		t.Helper()
		waitFor(t, "the policy "+name, func() bool { return f.currentName() == name })
	}
	logs := func(text string) {
		t.Helper()
		waitFor(t, "the log to have "+text, func() bool { return strings.Contains(f.log.String(), text) })
		if n := strings.Count(f.log.String(), text); n != 1 {
			t.Errorf("logged %d times: %s", n, text)
		}
	}
	inPlace := func(text string) {
		t.Helper()
		if err := os.WriteFile(f.file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	becomes("first")
	f.write(t, named("renamed"))
	becomes("renamed")
	inPlace(named("written"))
	becomes("written")
	// A mistake changes nothing, and is logged.
	inPlace(named("wrong") + "\n" + `{"name":"x","users":["alice"],"actions":["*"]}`)
	logs(f.file + `:3: the pattern \"*\" is not a regular expression`)
	if name := f.currentName(); name != "written" {
		t.Errorf("%s is used after a mistake", name)
	}
	if err := f.policies.Reload(); err == nil {
		t.Error("a file with a mistake is loaded")
	}
	inPlace(named("right"))
	becomes("right")
	// The file is missing for a while.
	if err := os.Remove(f.file); err != nil {
		t.Fatal(err)
	}
	logs("no such file or directory")
	if name := f.currentName(); name != "right" {
		t.Errorf("%s is used without the file", name)
	}
	f.write(t, named("created"))
	becomes("created")
	// Its directory is replaced.
	if err := os.Rename(filepath.Dir(f.file), filepath.Dir(f.file)+".old"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Dir(f.file), 0o755); err != nil {
		t.Fatal(err)
	}
	f.write(t, named("moved"))
	becomes("moved")
	f.write(t, named("moved again"))
	becomes("moved again")
	// It is a symbolic link into another directory.
	target := filepath.Join(t.TempDir(), "target")
	if err := os.WriteFile(target, []byte(named("linked")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, f.file+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(f.file+".new", f.file); err != nil {
		t.Fatal(err)
	}
	becomes("linked")
	if err := os.WriteFile(target, []byte(named("linked again")), 0o600); err != nil {
		t.Fatal(err)
	}
	becomes("linked again")
}

// TestHalfWritten checks that a file is not used while a process writes it, even if it is valid.
func TestHalfWritten(t *testing.T) {
	t.Parallel()
	f := serve(t, named("first"))
	f.watch(t)
	w, err := os.OpenFile(f.file, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		line := fmt.Sprintf(`{"name":"half","users":["user%d"],"actions":[""]}`+"\n", i)
		if _, err := w.WriteString(line); err != nil {
			t.Fatal(err)
		}
		deadline := time.Now().Add(30 * time.Millisecond)
		for ; time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			if name := f.currentName(); name != "first" {
				t.Fatalf("%q is used while the file is being written", name)
			}
		}
	}
	if err := f.policies.Reload(); !errors.Is(err, sys.ErrBeingWritten) {
		t.Errorf("reloaded: %v", err)
	}
	if _, err := w.WriteString(`{"name":"last","users":[""],"actions":[""]}`); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the policy last", func() bool { return f.currentName() == "last" })
}

// TestReloadUnderLoad replaces the policies a hundred times, with invalid files between, while
// clients ask. Each answer must come from one complete set.
func TestReloadUnderLoad(t *testing.T) {
	const users = 50
	set := func(name string, step int) string {
		var text strings.Builder
		for i := range users {
			user := i * step % users // in another order
			fmt.Fprintf(&text, `{"name":"%[1]s%[2]d","users":["user%[2]d"],"actions":["pull"],`+
				`"message":"%[1]s%[2]d"}`+"\n", name, user)
		}
		return text.String()
	}
	sets := []string{set("a", 1), set("b", 7)}
	f := serve(t, sets[0])
	f.watch(t)
	stop := make(chan struct{})
	var asking sync.WaitGroup
	for client := range 8 {
		asking.Go(func() {
			for i := client; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				user := i % users
				q := fmt.Sprintf(`{"User":"user%d","RequestMethod":"GET","RequestUri":"/info"}`, user)
				a := f.askText(t, q)
				if a.Allow || a.Msg != fmt.Sprint("a", user) && a.Msg != fmt.Sprint("b", user) {
					t.Errorf("user%d: %+v", user, a)
					return
				}
			}
		})
	}
	for i := 1; i <= 100; i++ {
		f.write(t, sets[i%2]+`{"name":"half"`)
		f.write(t, sets[i%2])
		if i%10 == 0 {
			name := string("ab"[i%2]) + "7"
			waitFor(t, "the new set", func() bool {
				pull := policy.ActionRequest(action.ForIsulad("pull"), nil)
				d := f.policies.Current().Decide(policy.Identity{User: "user7"}, pull)
				return d.Policy.Name == name
			})
		} else if err := f.policies.Reload(); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	asking.Wait()
}
