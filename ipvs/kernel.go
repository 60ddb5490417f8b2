package ipvs

import "errors"

// A Kernel is a kernel's table of services. Its methods must not be called by two
// goroutines at once; the Reconciler's own goroutine is the only caller.
//
// A call that finds the table other than the caller thought returns an error that
// is, by errors.Is, one of these: syscall.EEXIST for an addition of what is there,
// syscall.ENOENT or syscall.ESRCH for a change or removal of what is not. A
// scheduler that the kernel lacks is ErrNoScheduler, and none of those.
type Kernel interface {
	// List returns all services, foreign ones too, in the order of Table.String.
	// Services of a firewall mark are left out.
	List() (Table, error)

	// AddService and UpdateService do not look at the service's Destinations.
	AddService(Service) error
	UpdateService(Service) error
	// DeleteService removes the service with its destinations.
	DeleteService(Key) error

	AddDestination(Key, Destination) error
	UpdateDestination(Key, Destination) error
	DeleteDestination(Key, Destination) error

	Close() error
}

// ErrNoIPVS is returned by Open on a kernel that has no IPVS.
var ErrNoIPVS = errors.New("this kernel has no IPVS: its module ip_vs is not loaded and cannot be loaded")

// ErrNoScheduler is wrapped by the error of AddService and UpdateService when the
// kernel lacks the scheduler; the error names the missing module.
var ErrNoScheduler = errors.New("no such scheduler in this kernel")
