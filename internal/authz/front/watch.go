package front

import (
	"context"
	"reflect"
	"time"
)

// verifyInterval is the interval at which the clients of open streams are verified.
const verifyInterval = 5 * time.Second

// watch registers the exchange, until the caller calls stop.
func (x *exchange) watch() (stop func()) {
	f := x.Front
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open[x] = time.Now()
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.open, x)
	}
}

// watchAll verifies the clients of open streams, until the context ends. It ends
// streams that are no longer allowed.
func (f *Front) watchAll(ctx context.Context) {
	tick := time.NewTicker(f.interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		f.mu.Lock()
		for x, since := range f.open {
			if time.Since(since) >= f.interval && x.isVerifying.CompareAndSwap(false, true) {
				go x.verify(ctx)
			}
		}
		f.mu.Unlock()
	}
}

func (x *exchange) verify(ctx context.Context) {
	defer x.isVerifying.Store(false)
	if reason := x.revoked(ctx); reason != "" {
		x.Log.Warn("stream closed", "user", x.asked.Name(), "method", x.r.Method, "reason", reason)
		x.kill()
	}
}

// revoked returns the reason if the stream is no longer allowed, or "".
func (x *exchange) revoked(ctx context.Context) string {
	client, err := x.conn.Client(ctx)
	if err != nil {
		return err.Error()
	}
	policies := x.Policies.Current()
	if policies == x.policies && reflect.DeepEqual(client, x.client) {
		return ""
	}
	x.policies, x.client = policies, client
	if d := policies.Decide(client.Identity, x.asked.Request); !d.Allow && !x.DryRun {
		return d.Explain()
	}
	return ""
}

// kill closes the connection of the client, and aborts the exchange.
func (x *exchange) kill() {
	x.conn.Close()
	x.abort()
}

// abort makes all operations on the connection to the engine fail.
func (x *exchange) abort() {
	x.upMu.Lock()
	defer x.upMu.Unlock()
	x.isAborted = true
	if x.up != nil {
		x.up.SetDeadline(time.Unix(1, 0))
	}
}

func (f *Front) killAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for x := range f.open {
		go x.kill()
	}
}
