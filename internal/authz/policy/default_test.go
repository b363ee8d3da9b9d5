package policy_test

import (
	"os"
	"strings"
	"testing"

	"palisade/internal/authz/action"
	"palisade/internal/authz/policy"
)

// TestDefault makes sure that the file of the packages gives nobody anything who comes over the network.
func TestDefault(t *testing.T) {
	text, err := os.ReadFile("default.json")
	if err != nil {
		t.Fatal(err)
	}
	s := parse(t, string(text))
	if !s.IsDefault() || parse(t, string(text)+"\n").IsDefault() {
		t.Error("the default is not told from a changed one")
	}
	requests := []policy.Request{policy.DockerRequest("POST", "/no/such", nil)}
	for _, a := range action.List(action.Docker) {
		requests = append(requests, policy.ActionRequest(a, nil))
	}
	for _, r := range requests {
		if d := s.Decide(policy.Identity{Local: true}, r); !d.Allow {
			t.Errorf("at the unix socket: %s", d.Explain())
		}
		for _, user := range []string{"", "root", "alice", "local", "default"} {
			who := policy.Identity{User: user, Groups: []string{"", "root", "local"}}
			if d := s.Decide(who, r); d.Allow || d.Reason != policy.NoPolicy {
				t.Errorf("%q: %s", user, d.Explain())
			}
		}
	}
}

// TestLocal makes sure that the first line for everybody or for local decides.
func TestLocal(t *testing.T) {
	const (
		local     = `{"name":"local","local":true,"actions":["docker"]}` + "\n"
		everybody = `{"name":"everybody","users":[""],"actions":["container"]}` + "\n"
	)
	ping := policy.DockerRequest("GET", "/_ping", nil)
	list := policy.DockerRequest("GET", "/containers/json", nil)
	atSocket := policy.Identity{Local: true}
	for _, c := range []struct {
		text       string
		ping, list bool
	}{{local, true, false}, {local + everybody, true, false}, {everybody + local, false, true}, {everybody, false, true}, {"", false, false}} {
		s := parse(t, c.text)
		if got := s.Decide(atSocket, ping).Allow; got != c.ping {
			t.Errorf("%s: ping is %v", c.text, got)
		}
		if got := s.Decide(atSocket, list).Allow; got != c.list {
			t.Errorf("%s: list is %v", c.text, got)
		}
	}
	if d := parse(t, local+everybody).Decide(policy.Identity{}, list); d.Policy.Name != "everybody" {
		t.Errorf("a user without a name is decided by %q", d.Policy.Name)
	}
	for text, want := range map[string]string{
		local + local: "f:2: local is listed in line 1 already", `{"local":"true","actions":[""]}`: "want true or false",
		`{"local":false,"actions":[""]}`: "no users and no groups",
	} {
		if _, err := policy.Parse("f", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
