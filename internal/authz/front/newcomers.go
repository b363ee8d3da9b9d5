package front

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// newcomerTime is how long Shutdown waits for the first request of connections that were accepted.
const newcomerTime = 250 * time.Millisecond

// newcomers are connections whose first request has not arrived. net/http drops a request that it
// reads during its own Shutdown, and the client gets no answer.
type newcomers struct {
	mu        sync.Mutex
	listeners []net.Listener
	conns     map[net.Conn]struct{}
	isClosed  bool
	// serving has the listeners from which a connection may still come.
	serving sync.WaitGroup
}

// listen adds a listener that drain closes. The caller must call serving.Done after its last
// Accept.
func (n *newcomers) listen(l net.Listener) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.serving.Add(1)
	n.listeners = append(n.listeners, l)
	if n.isClosed {
		l.Close()
	}
}

// changed is the hook of an http.Server for the state of connections.
func (n *newcomers) changed(c net.Conn, state http.ConnState) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch state {
	case http.StateNew:
		if n.conns == nil {
			n.conns = make(map[net.Conn]struct{})
		}
		n.conns[c] = struct{}{}
	case http.StateClosed:
		delete(n.conns, c)
	}
}

// arrived removes a connection, whose request is being served.
func (n *newcomers) arrived(c net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, c)
}

// isStopping reports whether the listeners are closed.
func (n *newcomers) isStopping() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.isClosed
}

// drain closes the listeners, and waits for the newcomers' requests, for newcomerTime at most.
func (n *newcomers) drain(ctx context.Context) {
	n.mu.Lock()
	n.isClosed = true
	for _, l := range n.listeners {
		l.Close()
	}
	n.mu.Unlock()
	n.serving.Wait()
	ctx, cancel := context.WithTimeout(ctx, newcomerTime)
	defer cancel()
	for ctx.Err() == nil {
		n.mu.Lock()
		left := len(n.conns)
		n.mu.Unlock()
		if left == 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
}
