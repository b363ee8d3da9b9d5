//go:build integration

package packages

import (
	"path/filepath"
	"strings"
	"testing"
)

// brokerUpgrades install palisade-authz-broker, and return a function that upgrades it.
var brokerUpgrades = map[string]func(t *testing.T) (root string, upgrade func() string){
	"deb": func(t *testing.T) (string, func() string) {
		r := newDebRoot(t)
		r.dpkg(t, append([]string{"-i"}, files(t, shared.first, "*authz-broker*.deb", 1)...)...)
		return r.root, func() string {
			return r.dpkg(t, append([]string{"--force-confold", "-i"}, files(t, shared.later, "*authz-broker*.deb", 1)...)...)
		}
	},
	"rpm": func(t *testing.T) (string, func() string) {
		r := newRPMRoot(t)
		r.rpm(t, append([]string{"-i"}, files(t, shared.first, "*authz-broker*.rpm", 1)...)...)
		return r.root, func() string {
			return r.rpm(t, append([]string{"-U"}, files(t, shared.later, "*authz-broker*.rpm", 1)...)...)
		}
	},
}

// TestUpgradeOfFront checks that an upgrade restarts running fronts, unless they would not start.
func TestUpgradeOfFront(t *testing.T) {
	for kind, install := range brokerUpgrades {
		for listen, restarted := range map[string]bool{"unix:///run/authz-front/docker.sock": true, "tcp://0.0.0.0:2376": false} {
			t.Run(kind+"/"+listen[:3], func(t *testing.T) {
				root, upgrade := install(t)
				args := []string{"/usr/bin/authz-broker", "front", "--engine", "docker", "--listen", listen}
				write(t, filepath.Join(root, brokerArgs), strings.Join(args, "\x00")+"\x00", 0o644)
				setActive(t, root, "authz-front@docker.service", "authz-front@podman.service")
				calls(t, root)
				output := upgrade()
				log := calls(t, root)
				for _, unit := range []string{"authz-front@docker", "authz-front@podman"} {
					if got := strings.Contains(log, "try-restart "+unit+".service"); got != restarted {
						t.Errorf("%s: restarted: got %v, want %v; output: %q", unit, got, restarted, output)
					}
					if got := strings.Contains(output, unit+" continues with the old program"); got == restarted {
						t.Errorf("%s: warned: got %v, want %v; output: %q", unit, got, !restarted, output)
					}
				}
			})
		}
	}
}

// TestUpgradeOfBroker checks that an upgrade restarts a running broker only if the new one would
// start with its options.
func TestUpgradeOfBroker(t *testing.T) {
	const other = "srv/policy.json"
	for kind, install := range brokerUpgrades {
		for _, tt := range []struct {
			name, standard, other string
			options               []string
			restarted             bool
		}{
			{"valid", ownPolicy, "", nil, true},
			{"invalid", "{}", "", nil, false},
			{"another invalid file", ownPolicy, "{}", []string{"--policy-file", "/" + other}, false},
			{"another valid file", "{}", ownPolicy, []string{"--audit", "/var/log/a b", "--policy-file=/" + other}, true},
			{"invalid value", ownPolicy, "", []string{"--audit", "relative"}, false},
			{"removed option", ownPolicy, "", []string{"--no-such-option"}, false},
		} {
			t.Run(kind+"/"+tt.name, func(t *testing.T) {
				root, upgrade := install(t)
				write(t, filepath.Join(root, policyFile), tt.standard, 0o600)
				write(t, filepath.Join(root, other), tt.other, 0o600)
				write(t, filepath.Join(root, brokerArgs), strings.Join(append([]string{"/usr/bin/authz-broker"}, tt.options...), "\x00")+"\x00", 0o644)
				setActive(t, root, "authz-broker.service")
				calls(t, root)
				output := upgrade()
				if restarted := strings.Contains(calls(t, root), "try-restart authz-broker.service"); restarted != tt.restarted {
					t.Errorf("restarted: got %v, want %v; output: %q", restarted, tt.restarted, output)
				}
				if warned := strings.Contains(output, "with the old program"); warned == tt.restarted {
					t.Errorf("warned: got %v, want %v; output: %q", warned, !tt.restarted, output)
				}
			})
		}
	}
}
