package front

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"sync"
	"time"

	"palisade/internal/authz/audit"
)

// verifyInterval is how often the client of an open stream is verified again.
const verifyInterval = 5 * time.Second

// serve decides a request, and forwards it.
func (f *Front) serve(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	x := &exchange{Front: f, w: w, r: r, release: func() {}}
	x.conn, _ = r.Context().Value(connKey{}).(*Conn)
	f.arrived(x.conn)
	defer func() { x.release() }()
	record := f.Decide(f.Engine, started, x.parse)
	switch {
	case x.isIdentified && x.out != nil && (record.Decision.Allow || f.DryRun):
		x.forward()
	default:
		x.deny(record)
	}
}

// deny answers a request that is not forwarded.
func (x *exchange) deny(record *audit.Record) {
	message, code := record.Reason(), http.StatusForbidden
	switch p := record.Decision.Policy; {
	case record.Fault == audit.Panic:
		code = http.StatusInternalServerError
	case record.Fault != audit.NoFault && x.isIdentified:
		code = http.StatusBadRequest
	case p != nil && p.Message != "":
		message = p.Message
	}
	x.fail(code, "authorization denied by authz-broker: "+message)
}

// fail answers with an error, as the engines do: Docker has only the message, Podman all fields.
func (x *exchange) fail(code int, message string) {
	text, _ := json.Marshal(struct { // strings can always be marshalled
		Message  string `json:"message"`
		Cause    string `json:"cause"`
		Response int    `json:"response"`
	}{message, message, code})
	h := x.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	x.w.WriteHeader(code)
	x.w.Write(text)
}

// forward sends the request to the engine, and the engine's answer to the client.
func (x *exchange) forward() {
	upgrade := x.upgrade()
	x.setBody()
	up, resp, err := x.roundTrip()
	if err != nil {
		x.Log.Warn("no answer from the engine", "method", x.r.Method, "err", err)
		x.fail(http.StatusBadGateway, "authz-broker: no answer from the engine: "+err.Error())
		return
	}
	defer up.finish()
	stop := x.watch(up)
	defer stop()
	switch {
	case resp.StatusCode == http.StatusSwitchingProtocols && upgrade == "":
		x.fail(http.StatusBadGateway, "authz-broker: the engine changed the protocol unasked")
	case resp.StatusCode == http.StatusSwitchingProtocols || x.isHijacked(resp):
		x.tunnel(up, resp)
	default:
		x.relay(up, resp)
	}
}

// setBody makes the body of the request to the engine: the bytes that were examined, if any were.
func (x *exchange) setBody() {
	switch {
	case x.isWhole:
		x.setForwarded(x.examined)
	case x.examined != nil: // --dry-run forwards what is too large as well
		x.out.Body = io.NopCloser(io.MultiReader(bytes.NewReader(x.examined), x.r.Body))
	case x.r.ContentLength == 0:
		x.out.Body = http.NoBody
	}
}

func (x *exchange) setForwarded(body []byte) {
	x.out.Body = io.NopCloser(bytes.NewReader(body))
	x.out.ContentLength, x.out.TransferEncoding, x.out.Trailer = int64(len(body)), nil, nil
	delete(x.out.Header, "Expect") // the client has sent the body
}

// relay sends an answer to the client, as it arrives.
func (x *exchange) relay(up *upstream, resp *http.Response) {
	// net/http cancels the context when the client closes its connection.
	stop := context.AfterFunc(x.r.Context(), up.abort)
	defer stop()
	h := x.w.Header()
	removeHopHeaders(resp.Header)
	for name, values := range resp.Header {
		h[name] = values
	}
	for _, name := range []string{"Content-Type", "Date"} {
		if _, ok := h[name]; !ok {
			h[name] = nil // net/http adds none
		}
	}
	for name := range resp.Trailer {
		h.Add("Trailer", name)
	}
	x.w.WriteHeader(resp.StatusCode)
	if err := x.copyBody(resp); err != nil {
		x.Log.Debug("answer interrupted", "method", x.r.Method, "err", err)
		panic(http.ErrAbortHandler) // the client must not take the answer for complete
	}
	for name, values := range resp.Trailer {
		h[name] = values
	}
	up.isReusable = !resp.Close
}

var buffers = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// copyBody copies a body. A stream is flushed whenever there is nothing more to read.
func (x *exchange) copyBody(resp *http.Response) error {
	if resp.Body == http.NoBody {
		return nil
	}
	buffer := buffers.Get().(*[64 << 10]byte)
	defer buffers.Put(buffer)
	c := http.NewResponseController(x.w)
	if resp.ContentLength < 0 {
		c.Flush() // the head, before the first event
	}
	for {
		n, err := resp.Body.Read(buffer[:])
		if n > 0 {
			if _, err := x.w.Write(buffer[:n]); err != nil {
				return err
			}
			if resp.ContentLength < 0 {
				c.Flush()
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read from the engine: %w", err)
		}
	}
}

// watch verifies the client again and again while a stream is open, and closes it if the client
// would not get it any longer. The caller must call stop.
func (x *exchange) watch(up *upstream) (stop func()) {
	ended, end := context.WithCancel(context.WithoutCancel(x.r.Context()))
	var timer *time.Timer
	var armed sync.Mutex
	check := func() {
		if why := x.revoked(ended); why != "" && ended.Err() == nil {
			x.Log.Warn("stream closed", "user", x.asked.Name(), "method", x.r.Method, "reason", why)
			up.abort()
			x.conn.Close()
			return
		}
		armed.Lock()
		defer armed.Unlock()
		if ended.Err() == nil {
			timer.Reset(verifyInterval)
		}
	}
	armed.Lock()
	timer = time.AfterFunc(verifyInterval, check)
	armed.Unlock()
	return func() {
		end()
		armed.Lock()
		timer.Stop()
		armed.Unlock()
	}
}

// revoked returns why the client would not get its stream any longer, or "".
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
