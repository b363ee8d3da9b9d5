package broker

import (
	"fmt"
	"testing"

	"palisade/internal/authz/audit"
)

// panicsOnce is an Auditor that panics the first time.
type panicsOnce struct {
	records
	failed bool
}

func (p *panicsOnce) Add(r audit.Record) {
	if !p.failed {
		p.failed = true
		panic("a bug")
	}
	p.records.Add(r)
}

// TestFaults checks the faults of requests that are not decided by policy.
func TestFaults(t *testing.T) {
	withClock(t, testFaults)
}

func testFaults(t *testing.T, serve serveFunc) {
	panicking := new(panicsOnce)
	f := serve(t, named("p"))
	g := serve(t, named("p"), func(c *Decider) { c.Audit = panicking })
	last := func() audit.Record { return f.records.last() }
	isulad := func(f *fixture, text string) func() { return func() { f.raw(t, f.isulad, text) } }
	docker := func(r authzRequest) func() { return func() { f.ask(t, r) } }
	otherName := authzRequest{User: "alice", RequestPeerCertificates: [][]byte{nil}}
	for name, c := range map[string]struct {
		ask  func()
		last func() audit.Record
		want audit.Fault
	}{
		"allowed":         {isulad(f, isuladBytes("alice:pull")), last, audit.NoFault},
		"no action":       {isulad(f, isuladBytes("alice")), last, audit.Malformed},
		"incomplete":      {isulad(f, isuladBytes("alice:pull")[:118]), last, audit.Late},
		"invalid JSON":    {func() { f.askText(t, "{") }, last, audit.Malformed},
		"other name":      {docker(otherName), last, audit.Malformed},
		"panic":           {isulad(g, isuladBytes("alice:pull")), panicking.last, audit.Panic},
		"unknown, denied": {docker(userRequest("alice", "GET /none", "")), last, audit.NoFault},
	} {
		c.ask()
		if r := c.last(); r.Fault != c.want || (r.Problem == "") != (c.want == audit.NoFault) {
			t.Errorf("%s: %q, %q", name, r.Fault, r.Problem)
		}
	}
}

// TestLoads checks the counters of loads and failures.
func TestLoads(t *testing.T) {
	f := serve(t, named("first"))
	for i, c := range []struct {
		text            string
		loads, failures uint64
	}{{named("second"), 2, 0}, {"}", 2, 1}, {named("third"), 3, 1}} {
		f.write(t, c.text)
		f.policies.Reload()
		if loads, failures := f.policies.Loads(); loads != c.loads || failures != c.failures {
			t.Errorf("%d: %d loads, %d failures; want %d, %d", i, loads, failures, c.loads, c.failures)
		}
	}
	f.watch(t)
	for i := range 2 {
		f.write(t, fmt.Sprintf(`{"users":[%d]}`, i))
		waitFor(t, "a failure", func() bool {
			_, failures := f.policies.Loads()
			return failures == uint64(2+i)
		})
	}
	f.write(t, named("fourth"))
	waitFor(t, "a load", func() bool {
		loads, _ := f.policies.Loads()
		return loads == 4
	})
}
