package front

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// upgrades maps an action to the protocol to which its connection may switch.
var upgrades = map[string]string{
	"container_attach":           "tcp",
	"container_exec_start":       "tcp",
	"container_attach_websocket": "websocket",
	"image_build_session":        "h2c",
	"image_build_grpc":           "h2c",
}

// lingerTime is the time limit for a client that still sends after the engine has closed its side.
const lingerTime = time.Minute

// upgrade sets the headers for the protocol to which the client wants to switch, and returns it. If
// the action does not have this protocol, it removes the headers and returns "".
func (x *exchange) upgrade() string {
	wanted := x.out.Header.Get("Upgrade")
	delete(x.out.Header, "Upgrade")
	if protocol := upgrades[x.asked.Action().Name]; protocol != "" &&
		strings.EqualFold(wanted, protocol) {
		x.out.Header.Set("Connection", "Upgrade")
		x.out.Header.Set("Upgrade", protocol)
		return protocol
	}
	return ""
}

// mayHijack reports whether the connection may become a raw stream without 101 Switching Protocols.
func (x *exchange) mayHijack() bool { return upgrades[x.asked.Action().Name] == "tcp" }

// isHijacked reports whether the connection is a raw stream after this answer, as for clients that
// do not request an upgrade. Other answers in HTTP/1.1 have a length.
func (x *exchange) isHijacked(resp *http.Response) bool {
	return x.mayHijack() && resp.StatusCode == http.StatusOK && x.r.Method == http.MethodPost &&
		resp.ContentLength < 0 && len(resp.TransferEncoding) == 0 &&
		strings.HasPrefix(resp.Header.Get("Content-Type"), "application/vnd.docker.")
}

// tunnel connects the client with the engine, after the head of the answer.
func (x *exchange) tunnel(resp *http.Response) {
	up := x.up
	if up.sent != nil {
		select {
		case err := <-up.sent:
			up.sent <- err
			if err == nil {
				break
			}
			x.fail(http.StatusBadGateway, "authz-broker: send the request: "+err.Error())
			return
		case <-time.After(x.bodyTime):
			panic(http.ErrAbortHandler)
		}
	}
	x.tunnels.Add(1) // before net/http gives up the connection
	defer x.tunnels.Done()
	c, buffered, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		x.Log.Error("cannot hijack the connection", "err", err)
		return
	}
	up.sent = nil
	x.conn.isReadingBody.Store(false)
	var both sync.WaitGroup
	defer both.Wait()
	defer func() { c.Close(); up.Close() }()
	upgrade := resp.Header.Get("Upgrade")
	removeHopHeaders(resp.Header)
	if upgrade != "" {
		resp.Header.Set("Connection", "Upgrade")
		resp.Header.Set("Upgrade", upgrade)
	}
	var head bytes.Buffer
	fmt.Fprintf(&head, "HTTP/1.1 %s\r\n", resp.Status)
	resp.Header.Write(&head)
	head.WriteString("\r\n")
	if _, err := c.Write(head.Bytes()); err != nil {
		return
	}
	early, _ := buffered.Reader.Peek(buffered.Reader.Buffered())
	both.Go(func() {
		// After an error the engine reads no more, but may still send.
		pipe(up.UnixConn, early, c)
		up.CloseWrite()
	})
	fromEngine, _ := up.br.Peek(up.br.Buffered())
	if err := pipe(c, fromEngine, up.UnixConn); err != nil {
		return
	}
	if half, ok := c.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
		return
	}
	c.SetReadDeadline(time.Now().Add(lingerTime))
	both.Wait()
}

// pipe copies early, which was read ahead, and then from until EOF.
func pipe(to net.Conn, early []byte, from net.Conn) error {
	if _, err := to.Write(early); err != nil {
		return err
	}
	buffer := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buffer)
	_, err := io.CopyBuffer(to, from, buffer[:])
	return err
}
