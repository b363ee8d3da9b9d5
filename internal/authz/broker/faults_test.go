package broker

import (
	"fmt"
	"testing"

	"palisade/internal/authz/audit"
)

// panicsOnce is an auditor that fails as a mistake would, the first time.
type panicsOnce struct {
	records
	failed bool
}

func (p *panicsOnce) Add(r audit.Record) {
	if !p.failed {
		p.failed = true
		panic("as a mistake would")
	}
	p.records.Add(r)
}

// TestFaults makes sure that what no policy decides is told apart.
func TestFaults(t *testing.T) {
	mistaken := new(panicsOnce)
	f := serve(t, named("p"))
	g := serve(t, named("p"), func(c *Config) { c.Audit = mistaken })
	t.Parallel()
	last := func() audit.Record { return f.records.last() }
	for name, c := range map[string]struct {
		ask  func()
		last func() audit.Record
		want audit.Fault
	}{
		"allowed":           {func() { raw(t, f.isulad, isuladBytes("alice:pull")) }, last, audit.NoFault},
		"no question":       {func() { raw(t, f.isulad, isuladBytes("alice")) }, last, audit.Malformed},
		"half a question":   {func() { raw(t, f.isulad, isuladBytes("alice:pull")[:118]) }, last, audit.Late},
		"no JSON":           {func() { f.askText(t, "{") }, last, audit.Malformed},
		"another's name":    {func() { f.ask(t, question{User: "alice", RequestPeerCertificates: [][]byte{nil}}) }, last, audit.Malformed},
		"a mistake in Go":   {func() { raw(t, g.isulad, isuladBytes("alice:pull")) }, mistaken.last, audit.Mistake},
		"not known, denied": {func() { f.ask(t, question{User: "alice", RequestMethod: "GET", RequestURI: "/none"}) }, last, audit.NoFault},
	} {
		c.ask()
		if r := c.last(); r.Fault != c.want || (r.Problem == "") != (c.want == audit.NoFault) {
			t.Errorf("%s: %q, %q", name, r.Fault, r.Problem)
		}
	}
}

// TestLoads counts loads of the policy file as the log tells of them.
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
		waitFor(t, "a failure is counted", func() bool { _, failures := f.policies.Loads(); return failures == uint64(2+i) })
	}
	f.write(t, named("fourth"))
	waitFor(t, "a load is counted", func() bool { loads, _ := f.policies.Loads(); return loads == 4 })
}
