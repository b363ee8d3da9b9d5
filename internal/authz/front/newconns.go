package front

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// newConnTime is the time limit of Shutdown for the first request of accepted connections.
const newConnTime = 250 * time.Millisecond

// newConns tracks connections whose first request has not arrived. net/http drops a request that it
// reads during its own Shutdown, and the client gets no answer.
type newConns struct {
	mu        sync.Mutex
	listeners []net.Listener
	conns     map[net.Conn]struct{}
	isClosed  bool
	// serving counts the listeners that may still accept a connection.
	serving sync.WaitGroup
}

// addListener adds a listener, which drain closes. The caller must call serving.Done after its last
// Accept.
func (n *newConns) addListener(l net.Listener) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.serving.Add(1)
	n.listeners = append(n.listeners, l)
	if n.isClosed {
		l.Close()
	}
}

// connState is a ConnState hook of http.Server.
func (n *newConns) connState(c net.Conn, state http.ConnState) {
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

// remove removes a connection whose first request has arrived.
func (n *newConns) remove(c net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, c)
}

// isStopping reports whether the listeners are closed.
func (n *newConns) isStopping() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.isClosed
}

// drain closes the listeners, and waits for the first requests, for newConnTime at most.
func (n *newConns) drain(ctx context.Context) {
	n.mu.Lock()
	n.isClosed = true
	for _, l := range n.listeners {
		l.Close()
	}
	n.mu.Unlock()
	n.serving.Wait()
	ctx, cancel := context.WithTimeout(ctx, newConnTime)
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
