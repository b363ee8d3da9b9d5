package container

import "sync"

// Quota bounds the use of a resource by each principal, and by all together. A nil principal is not
// counted.
type Quota struct {
	each, all int

	mu    sync.Mutex
	used  map[*Principal]int
	total int
}

// NewQuota returns a Quota of each uses per principal, and all in total.
func NewQuota(each, all int) *Quota {
	return &Quota{each: each, all: all, used: make(map[*Principal]int)}
}

// Take counts one more use by p, and holds p until Return. At a bound it counts nothing and returns
// false.
func (q *Quota) Take(p *Principal) bool {
	if p == nil {
		return true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.used[p] >= q.each || q.total >= q.all {
		return false
	}
	q.count(p)
	return true
}

// Add counts one more use by p, which must not be nil, regardless of the bounds.
func (q *Quota) Add(p *Principal) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.count(p)
}

func (q *Quota) count(p *Principal) {
	p.Acquire()
	q.used[p]++
	q.total++
}

// Return counts one use less by p.
func (q *Quota) Return(p *Principal) {
	if p == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.total--
	if q.used[p]--; q.used[p] == 0 {
		delete(q.used, p)
	}
	p.Release()
}

// Used returns the number of counted uses in total.
func (q *Quota) Used() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.total
}
