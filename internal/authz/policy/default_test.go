package policy_test

import (
	"os"
	"strings"
	"testing"

	"palisade/internal/authz/action"
	"palisade/internal/authz/policy"
)

// TestDefault checks that the packages' file grants everything at the unix socket and nothing over
// the network.
func TestDefault(t *testing.T) {
	text, err := os.ReadFile("default.json")
	if err != nil {
		t.Fatal(err)
	}
	s := parse(t, string(text))
	if !s.IsDefault() || parse(t, string(text)+"\n").IsDefault() {
		t.Error("IsDefault does not distinguish the default from a changed file")
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
			id := policy.Identity{User: user, Groups: []string{"", "root", "local"}}
			if d := s.Decide(id, r); d.Allow || d.Reason != policy.NoPolicy {
				t.Errorf("%q: %s", user, d.Explain())
			}
		}
	}
}

// TestLocal checks that the first line for local or for every user applies at the unix socket.
func TestLocal(t *testing.T) {
	const (
		local = `{"name":"local","local":true,"actions":["docker"]}` + "\n"
		all   = `{"name":"all","users":[""],"actions":["container"]}` + "\n"
	)
	ping := policy.DockerRequest("GET", "/_ping", nil)
	list := policy.DockerRequest("GET", "/containers/json", nil)
	atSocket := policy.Identity{Local: true}
	for _, c := range []struct {
		text       string
		ping, list bool
	}{
		{local, true, false},
		{local + all, true, false},
		{all + local, false, true},
		{all, false, true},
		{"", false, false},
	} {
		s := parse(t, c.text)
		if got := s.Decide(atSocket, ping).Allow; got != c.ping {
			t.Errorf("%s: ping is %v", c.text, got)
		}
		if got := s.Decide(atSocket, list).Allow; got != c.list {
			t.Errorf("%s: list is %v", c.text, got)
		}
	}
	if d := parse(t, local+all).Decide(policy.Identity{}, list); d.Policy.Name != "all" {
		t.Errorf("policy %q applies to a user without a name", d.Policy.Name)
	}
	for text, want := range map[string]string{
		local + local:                     "f:2: local is already listed in line 1",
		`{"local":"true","actions":[""]}`: "want true or false",
		`{"local":false,"actions":[""]}`:  "the policy has no clients",
	} {
		if _, err := policy.Parse("f", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
