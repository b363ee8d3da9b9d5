package broker

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"palisade/internal/authz/action"
	"palisade/internal/authz/policy"
)

// named is a file with one policy that grants everything to everybody.
func named(name string) string {
	return fmt.Sprintf(`{"name":%q,"users":[""],"actions":[""]}`+"\n", name)
}

// now is the name of the policy that holds.
func (f *fixture) now() string {
	pull := policy.ActionRequest(action.OfIsulad("pull"), nil)
	d := f.policies.Current().Decide(policy.Identity{User: "alice"}, pull)
	if d.Policy == nil {
		return ""
	}
	return d.Policy.Name
}

// TestReload changes the file in all the ways in which people and programs do.
func TestReload(t *testing.T) {
	f := serve(t, named("first"))
	t.Parallel()
	f.watch(t)
	becomes := func(name string) {
		t.Helper()
		waitFor(t, "the policy "+name+" holds", func() bool { return f.now() == name })
	}
	logs := func(text string) {
		t.Helper()
		waitFor(t, "it is logged: "+text, func() bool { return strings.Contains(f.log.String(), text) })
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
	// A wrong edit changes nothing, and is named.
	inPlace(named("wrong") + "\n" + `{"name":"x","users":["alice"],"actions":["*"]}`)
	logs(f.file + `:3: the action \"*\" is no regular expression`)
	if name := f.now(); name != "written" {
		t.Errorf("%s holds after a wrong edit", name)
	}
	if err := f.policies.Reload(); err == nil {
		t.Error("a wrong file is loaded")
	}
	inPlace(named("right"))
	becomes("right")
	// It is gone for a while.
	if err := os.Remove(f.file); err != nil {
		t.Fatal(err)
	}
	logs("no such file or directory")
	if name := f.now(); name != "right" {
		t.Errorf("%s holds without the file", name)
	}
	f.write(t, named("created"))
	becomes("created")
	// Its folder is replaced.
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
	// It is a link into another folder.
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

// TestHalfWritten makes sure that what is not yet written to its end is not used, though it would be right.
func TestHalfWritten(t *testing.T) {
	f := serve(t, named("first"))
	f.watch(t)
	w, err := os.OpenFile(f.file, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if _, err := fmt.Fprintf(w, `{"name":"half","users":["user%d"],"actions":[""]}`+"\n", i); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(30 * time.Millisecond); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			if name := f.now(); name != "first" {
				t.Fatalf("%q holds while the file is being written", name)
			}
		}
	}
	if err := f.policies.Reload(); err == nil || !strings.Contains(err.Error(), "file is open for writing") {
		t.Errorf("reloaded: %v", err)
	}
	if _, err := w.WriteString(`{"name":"last","users":[""],"actions":[""]}`); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the policy last holds", func() bool { return f.now() == "last" })
}

// TestReloadUnderLoad swaps policies a hundred times, with a wrong file between, while clients ask. Each answer must be one of
// a set as a whole: a set knows each user, and tells its own name.
func TestReloadUnderLoad(t *testing.T) {
	const users = 50
	set := func(name string, step int) string {
		var text strings.Builder
		for i := range users {
			user := i * step % users // in another order
			fmt.Fprintf(&text, `{"name":"%s%d","users":["user%d"],"actions":["pull"],"message":"%s%d"}`+"\n", name, user, user, name, user)
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
				if a := f.askText(t, q); a.Allow || a.Msg != fmt.Sprintf("a%d", user) && a.Msg != fmt.Sprintf("b%d", user) {
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
			waitFor(t, "the new set holds", func() bool {
				pull := policy.ActionRequest(action.OfIsulad("pull"), nil)
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
