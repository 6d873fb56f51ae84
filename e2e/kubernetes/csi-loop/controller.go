package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/workqueue"
	provision "sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

// What failed is tried again soon: tests wait for it.
const (
	firstRetry = time.Second
	lastRetry  = 5 * time.Second
)

// controller makes, deletes and lengthens the files of volumes.
type controller struct {
	csi.UnimplementedControllerServer
	// Folders of this host, by worker.
	disks map[string]string
	files sync.Mutex
}

func runController(volumes *controller, socket, kubeconfig string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 50, 100
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	listener, err := listen(socket)
	if err != nil {
		return err
	}
	grpc := server()
	csi.RegisterIdentityServer(grpc, identity{})
	csi.RegisterControllerServer(grpc, volumes)
	retries := workqueue.NewTypedItemExponentialFailureRateLimiter[string](firstRetry, lastRetry)
	claims := provision.NewProvisionController(context.Background(), client, driver, &provisioner{volumes},
		provision.LeaderElection(false), provision.RateLimiter(retries))
	go claims.Run(context.Background())
	return grpc.Serve(listener)
}

func (c *controller) ControllerGetCapabilities(
	context.Context, *csi.ControllerGetCapabilitiesRequest,
) (*csi.ControllerGetCapabilitiesResponse, error) {
	can := func(what csi.ControllerServiceCapability_RPC_Type) *csi.ControllerServiceCapability {
		call := &csi.ControllerServiceCapability_RPC{Type: what}
		return &csi.ControllerServiceCapability{Type: &csi.ControllerServiceCapability_Rpc{Rpc: call}}
	}
	return &csi.ControllerGetCapabilitiesResponse{Capabilities: []*csi.ControllerServiceCapability{
		can(csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME),
		can(csi.ControllerServiceCapability_RPC_EXPAND_VOLUME),
	}}, nil
}

// CreateVolume makes a file with a filesystem in it, as large as asked, of which 64 MiB are allocated: its log.
func (c *controller) CreateVolume(ctx context.Context, request *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	where := request.GetAccessibilityRequirements().GetPreferred()
	if len(where) == 0 {
		return nil, status.Error(codes.InvalidArgument, "no worker is named")
	}
	worker := where[0].GetSegments()[topology]
	file, err := c.file(worker + "/" + request.GetName())
	if err != nil {
		return nil, err
	}
	c.files.Lock()
	defer c.files.Unlock()
	size := request.GetCapacityRange().GetRequiredBytes()
	found, err := os.Stat(file)
	switch {
	case os.IsNotExist(err):
		if err := format(ctx, file, size); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, status.Error(codes.Internal, err.Error())
	case found.Size() != size:
		return nil, status.Errorf(codes.AlreadyExists, "%s has %d bytes", file, found.Size())
	}
	return &csi.CreateVolumeResponse{Volume: &csi.Volume{
		VolumeId:           worker + "/" + request.GetName(),
		CapacityBytes:      size,
		AccessibleTopology: []*csi.Topology{{Segments: map[string]string{topology: worker}}},
	}}, nil
}

// DeleteVolume removes the file, unless it is still mounted: space that nobody can see any more would be taken for free.
func (c *controller) DeleteVolume(ctx context.Context, request *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	file, err := c.file(request.GetVolumeId())
	if err != nil {
		return nil, err
	}
	c.files.Lock()
	defer c.files.Unlock()
	if _, err := os.Stat(file); os.IsNotExist(err) {
		return &csi.DeleteVolumeResponse{}, nil
	}
	devices, err := tool(ctx, "losetup", "--noheadings", "--output", "NAME", "--associated", file)
	if err != nil {
		return nil, err
	}
	if devices != "" {
		return nil, status.Errorf(codes.FailedPrecondition, "%s is in use by %s", file, devices)
	}
	if err := os.Remove(file); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &csi.DeleteVolumeResponse{}, nil
}

// ControllerExpandVolume makes the file longer. The device and the filesystem are the worker's to enlarge.
func (c *controller) ControllerExpandVolume(
	_ context.Context, request *csi.ControllerExpandVolumeRequest,
) (*csi.ControllerExpandVolumeResponse, error) {
	file, err := c.file(request.GetVolumeId())
	if err != nil {
		return nil, err
	}
	c.files.Lock()
	defer c.files.Unlock()
	found, err := os.Stat(file)
	if err != nil {
		return nil, status.Error(codes.NotFound, err.Error())
	}
	size := max(found.Size(), request.GetCapacityRange().GetRequiredBytes())
	if size > found.Size() {
		if err := os.Truncate(file, size); err != nil {
			return nil, status.Error(codes.Internal, err.Error())
		}
	}
	return &csi.ControllerExpandVolumeResponse{CapacityBytes: size, NodeExpansionRequired: true}, nil
}

func (c *controller) file(volume string) (string, error) {
	worker, name, _ := strings.Cut(volume, "/")
	disk, known := c.disks[worker]
	if !known {
		return "", status.Errorf(codes.ResourceExhausted, "%q has no disk here", worker)
	}
	return fileOf(disk, name)
}

// format makes a volume's file under another name first: one that is there has its filesystem.
func format(ctx context.Context, file string, size int64) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	made := file + ".new"
	if err := os.WriteFile(made, nil, 0o600); err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	if err := os.Truncate(made, size); err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	if _, err := tool(ctx, "mkfs.xfs", "-q", "-f", made); err != nil {
		return err
	}
	if err := os.Rename(made, file); err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	return nil
}

// provisioner turns claims into calls of the controller, and what it made into PersistentVolumes.
type provisioner struct {
	volumes *controller
}

func (p *provisioner) Provision(
	ctx context.Context, options provision.ProvisionOptions,
) (*core.PersistentVolume, provision.ProvisioningState, error) {
	asked := options.PVC.Spec.Resources.Requests[core.ResourceStorage]
	here := []*csi.Topology{{Segments: map[string]string{topology: options.SelectedNodeName}}}
	made, err := p.volumes.CreateVolume(ctx, &csi.CreateVolumeRequest{
		Name:                      options.PVName,
		CapacityRange:             &csi.CapacityRange{RequiredBytes: asked.Value()},
		AccessibilityRequirements: &csi.TopologyRequirement{Requisite: here, Preferred: here},
	})
	if status.Code(err) == codes.ResourceExhausted {
		return nil, provision.ProvisioningReschedule, err
	}
	if err != nil {
		return nil, provision.ProvisioningFinished, err
	}
	volume := made.GetVolume()
	pinned := core.NodeSelectorRequirement{
		Key: topology, Operator: core.NodeSelectorOpIn, Values: []string{options.SelectedNodeName},
	}
	terms := []core.NodeSelectorTerm{{MatchExpressions: []core.NodeSelectorRequirement{pinned}}}
	size := *resource.NewQuantity(volume.GetCapacityBytes(), resource.BinarySI)
	return &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{Name: options.PVName},
		Spec: core.PersistentVolumeSpec{
			Capacity:                      core.ResourceList{core.ResourceStorage: size},
			AccessModes:                   options.PVC.Spec.AccessModes,
			PersistentVolumeReclaimPolicy: *options.StorageClass.ReclaimPolicy,
			MountOptions:                  options.StorageClass.MountOptions,
			NodeAffinity:                  &core.VolumeNodeAffinity{Required: &core.NodeSelector{NodeSelectorTerms: terms}},
			PersistentVolumeSource: core.PersistentVolumeSource{CSI: &core.CSIPersistentVolumeSource{
				Driver: driver, VolumeHandle: volume.GetVolumeId(), FSType: "xfs",
			}},
		},
	}, provision.ProvisioningFinished, nil
}

func (p *provisioner) Delete(ctx context.Context, volume *core.PersistentVolume) error {
	_, err := p.volumes.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: volume.Spec.CSI.VolumeHandle})
	if status.Code(err) == codes.FailedPrecondition {
		return &provision.VolumeInUseError{Reason: err.Error()}
	}
	return err
}
