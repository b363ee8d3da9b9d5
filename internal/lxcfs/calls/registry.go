package calls

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"palisade/internal/linux/socket"
	"palisade/internal/linux/sys"
)

// Registry holds the descriptors of the filters of all containers. It passes them to the worker and
// the writer, and under systemd to the service manager.
type Registry struct {
	shared
	options  Options
	listener net.Listener
	hangups  *sys.Poller
	watching sync.Once     // by watchHangups
	drained  chan struct{} // closed after accept has ended

	mu      sync.Mutex
	filters map[int]sys.File // by slot; not open while it is stored
	last    int              // the slot that was used last
	feeds   map[*Feed]bool
	writer  *Feed // nil if none runs
}

// Options configure a Registry.
type Options struct {
	// Path is the path of the socket to which runtimes connect.
	Path string
	// Stored are the files that the service manager has kept, of Split.
	Stored []sys.NamedFile
	// Keep stores the files in the service manager.
	Keep bool
	// StartWriter starts this program as a writer, which must outlive this process.
	StartWriter func(environment string, files []sys.NamedFile) (*os.Process, error)
	Log         *slog.Logger
}

const (
	// receiveTime and receiveSize bound the message of a runtime: a container's state with its
	// annotations. maxSenders bounds the runtimes that send at a time; others wait.
	receiveTime = 10 * time.Second
	receiveSize = 16 << 20
	maxSenders  = 64
	// closeTime bounds the time that Close waits for runtimes.
	closeTime = time.Second
)

// NewRegistry returns a Registry with the filters that the service manager has kept, and accepts
// others.
func NewRegistry(o Options) (*Registry, error) {
	r := &Registry{
		options: o, filters: make(map[int]sys.File), feeds: make(map[*Feed]bool),
		drained: make(chan struct{}),
	}
	var err error
	if r.hangups, err = sys.NewPoller(); err != nil {
		return nil, err
	}
	r.shared, err = openShared(o.Stored)
	isNew := err != nil
	if isNew {
		if r.shared, err = newShared(); err != nil {
			return nil, err
		}
		for _, f := range r.shared.files() {
			r.store(f.Name, f.File)
		}
	}
	if err := r.listen(); err != nil {
		return nil, err
	}
	r.restore(isNew)
	go r.accept()
	return r, nil
}

// listen takes over the socket that the service manager has kept, so that no runtime found none
// meanwhile, or creates it.
func (r *Registry) listen() (err error) {
	if kept := find(r.options.Stored, listenerName); kept.IsOpen() {
		if _, err := os.Lstat(r.options.Path); err == nil {
			r.listener, err = kept.Listener(listenerName)
			return err
		}
		kept.Close()
	}
	// The last writer of an earlier process may still listen to the socket, for its containers. This
	// process holds the lock of the directory.
	if err := os.Remove(r.options.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if r.listener, err = socket.Listen(r.options.Path, 0o600); err != nil {
		return err
	}
	r.listener.(*net.UnixListener).SetUnlinkOnClose(false) // the writer may go on to listen
	file, err := sys.ListenerFile(r.listener)
	if err != nil {
		return err
	}
	r.store(listenerName, file)
	return file.Close()
}

// restore takes over the filters and the writer of an earlier process. isNew reports that the memory
// is another one.
func (r *Registry) restore(isNew bool) {
	for _, f := range r.options.Stored {
		number, ok := strings.CutPrefix(f.Name, filterName)
		slot, err := strconv.Atoi(number)
		if ok && err == nil && slot >= 0 && slot < MaxFilters && f.File.IsSeccompNotify() {
			r.filters[slot] = f.File
			r.watch(slot, f.File)
		}
	}
	first := uint64(resume)
	if isNew {
		first = leave // it has another memory
	}
	if writer := find(r.options.Stored, writerName); writer.IsOpen() {
		r.writer = openFeed(r, writer)
		r.writer.send(first, sys.File{})
		r.writer.Start()
		go r.watchWriter(r.writer, find(r.options.Stored, lifeName), time.Now())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.needWriter()
}

// store stores a file in the service manager, in place of those with the name.
func (r *Registry) store(name string, file sys.File) {
	if !r.options.Keep {
		return
	}
	err := sys.RemoveStoredFiles(name)
	if err == nil && strings.HasPrefix(name, filterName) {
		err = sys.StoreUntilHangup(name, file)
	} else if err == nil {
		err = sys.StoreFiles(name, file)
	}
	if err != nil {
		r.options.Log.Warn("the service manager does not store a file", "name", name, "err", err)
	}
}

// NewFeed returns the Feed of a worker, and the files for Open, of which the first must be closed
// once it is started.
func (r *Registry) NewFeed() (*Feed, []sys.NamedFile, error) {
	f, socket, err := newFeed(r)
	return f, append([]sys.NamedFile{{Name: feedName, File: socket}}, r.shared.files()...), err
}

func (r *Registry) countCrash() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for slot := range r.filters {
		at := &r.slots[slot]
		if id := at.id(); id != 0 && at.begun.Load() == id && at.answered.Load() != id {
			at.crashes.Add(1)
		}
	}
}

func (r *Registry) subscribe(f *Feed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.feeds[f] = true
	for slot, filter := range r.filters {
		r.pass(f, slot, filter)
	}
}

func (r *Registry) unsubscribe(f *Feed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.feeds, f)
}

func (r *Registry) pass(f *Feed, slot int, filter sys.File) {
	if !filter.IsOpen() {
		return
	}
	duplicate, err := filter.Duplicate()
	if err != nil {
		r.options.Log.Error("the calls of a container are not answered", "err", err)
		return
	}
	f.send(uint64(slot), duplicate)
}

// StayNative makes the kernel execute the calls of all containers, until the next process resumes.
func (r *Registry) StayNative() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.writer != nil {
		r.writer.send(stayNative, sys.File{})
	}
}

// Close accepts no more descriptors, and waits until those that runtimes are sending are stored.
// Runtimes that connect later are served by the next process, or by the writer.
func (r *Registry) Close() {
	r.listener.Close()
	select {
	case <-r.drained:
	case <-time.After(closeTime):
	}
}

// accept receives the descriptors from runtimes.
func (r *Registry) accept() {
	senders := make(chan struct{}, maxSenders)
	var receiving sync.WaitGroup
	defer func() {
		receiving.Wait()
		close(r.drained)
	}()
	for {
		senders <- struct{}{}
		conn, err := r.listener.Accept()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				r.options.Log.Error("no more containers are accepted", "err", err)
			}
			return
		}
		receiving.Go(func() {
			defer func() { <-senders }()
			defer conn.Close()
			if err := r.receive(conn.(*net.UnixConn)); err != nil {
				r.options.Log.Error("the calls of a container are not answered", "err", err)
			}
		})
	}
}

// receive receives the descriptors of a runtime.
func (r *Registry) receive(conn *net.UnixConn) error {
	uid, err := sys.PeerUID(conn) // the runtime may have ended
	if err != nil {
		return err
	}
	if uid != 0 {
		return fmt.Errorf("peer has uid %d, want 0", uid)
	}
	return receiveFilters(conn, r.add)
}

// receiveFilters receives the descriptors that a runtime sends for a container, and calls add for
// each, which takes ownership. The state of the container, in JSON, is not needed: it is only read
// so that the runtime can write it.
func receiveFilters(conn *net.UnixConn, add func(sys.File) error) error {
	if err := conn.SetReadDeadline(time.Now().Add(receiveTime)); err != nil {
		return err
	}
	data := make([]byte, 64<<10)
	for size, filters := 0, 0; ; {
		n, files, err := sys.ReceiveFiles(conn, data)
		for _, f := range files {
			if err := add(f); err != nil {
				f.Close()
				return err
			}
			filters++
		}
		switch size += n; {
		case err == nil && n > 0 && size < receiveSize:
		case filters > 0, size == 0: // a peer that sends nothing looks whether the socket is served
			return nil
		case err != nil:
			return err
		default:
			return errors.New("a runtime sent no descriptor")
		}
	}
}

// add adds a filter, of which it takes ownership.
func (r *Registry) add(filter sys.File) error {
	if !filter.IsSeccompNotify() {
		return errors.New("a runtime sent a descriptor that is not of a seccomp filter")
	}
	filter.WakeOnSameCPU()
	slot, err := r.reserveSlot()
	if err != nil {
		return err
	}
	r.store(filterName+strconv.Itoa(slot), filter)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.filters[slot] = filter
	r.watch(slot, filter)
	r.needWriter() // a new one gets all filters
	for f := range r.feeds {
		r.pass(f, slot, filter)
	}
	r.options.Log.Debug("container added", "filter", slot, "filters", len(r.filters))
	return nil
}

// reserveSlot reserves the free slot that was used longest ago, since another process may still work
// with it.
func (r *Registry) reserveSlot() (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range MaxFilters {
		slot := (r.last + 1 + i) % MaxFilters
		if _, ok := r.filters[slot]; !ok && r.slots[slot].id() == 0 {
			r.last, r.filters[slot] = slot, sys.File{}
			return slot, nil
		}
	}
	return 0, fmt.Errorf("%d containers have a filter, which is the maximum", len(r.filters))
}

// watch makes watchHangups, which needs a thread from now on, close a filter.
func (r *Registry) watch(slot int, filter sys.File) {
	if err := r.hangups.AddOnce(filter, 0, int32(slot)); err != nil {
		r.options.Log.Error("the filter of a container will not be closed", "err", err)
	}
	r.watching.Do(func() { go r.watchHangups() })
}

// watchHangups closes the filters that have no more users.
func (r *Registry) watchHangups() {
	for {
		event, err := r.hangups.WaitOne()
		if err != nil {
			r.options.Log.Error("filters of ended containers are not closed", "err", err)
			return
		}
		r.remove(int(event.Token))
	}
}

func (r *Registry) remove(slot int) {
	if r.options.Keep {
		// systemd has done that itself. An error changes nothing.
		sys.RemoveStoredFiles(filterName + strconv.Itoa(slot))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	filter := r.filters[slot]
	delete(r.filters, slot)
	filter.Close()
	if len(r.filters) == 0 && r.writer != nil {
		r.writer.send(leave, sys.File{})
	}
}
