package main

import (
	"context"
	"io"
	"slices"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/admission"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/client-go/tools/cache"

	kcpkubernetesinformers "github.com/kcp-dev/client-go/informers"
	"github.com/kcp-dev/kcp/pkg/admission/mutatingwebhook"
	"github.com/kcp-dev/kcp/pkg/admission/validatingwebhook"
)

// spare puts the plugins that ask webhooks behind ones that look first whether there are any.
func spare(o *genericoptions.AdmissionOptions) {
	o.RecommendedPluginOrder = slices.Clone(o.RecommendedPluginOrder)
	replace := func(name string, plugin func(config io.Reader) (admission.Interface, error)) {
		sparing := name + "WhereThereIsOne"
		o.Plugins.Register(sparing, plugin)
		o.RecommendedPluginOrder = slices.Insert(o.RecommendedPluginOrder, slices.Index(o.RecommendedPluginOrder, name), sparing)
		o.DisablePlugins = append(o.DisablePlugins, name)
	}
	replace(mutatingwebhook.PluginName, func(config io.Reader) (admission.Interface, error) {
		plugin, err := mutatingwebhook.NewMutatingAdmissionWebhook(config)
		return &mutating{Plugin: plugin}, err
	})
	replace(validatingwebhook.PluginName, func(config io.Reader) (admission.Interface, error) {
		plugin, err := validatingwebhook.NewValidatingAdmissionWebhook(config)
		return &validating{Plugin: plugin}, err
	})
}

// registered looks where the plugins find their webhooks. The answer is yes as long as that is not known.
type registered struct {
	informer cache.SharedIndexInformer
	count    func() (int, error)
}

func (r registered) any() bool {
	if !r.informer.HasSynced() {
		return true
	}
	n, err := r.count()
	return n > 0 || err != nil
}

type mutating struct {
	*mutatingwebhook.Plugin
	webhooks registered
}

// SetKubeInformers is called by kcp before it serves.
func (m *mutating) SetKubeInformers(local, global kcpkubernetesinformers.SharedInformerFactory) {
	m.Plugin.SetKubeInformers(local, global)
	all := global.Admissionregistration().V1().MutatingWebhookConfigurations()
	m.webhooks = registered{all.Informer(), func() (int, error) {
		list, err := all.Lister().List(labels.Everything())
		return len(list), err
	}}
}

// Admit asks the webhooks, if there are any.
func (m *mutating) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if !m.webhooks.any() {
		return nil
	}
	return m.Plugin.Admit(ctx, a, o)
}

type validating struct {
	*validatingwebhook.Plugin
	webhooks registered
}

// SetKubeInformers is called by kcp before it serves.
func (v *validating) SetKubeInformers(local, global kcpkubernetesinformers.SharedInformerFactory) {
	v.Plugin.SetKubeInformers(local, global)
	all := global.Admissionregistration().V1().ValidatingWebhookConfigurations()
	v.webhooks = registered{all.Informer(), func() (int, error) {
		list, err := all.Lister().List(labels.Everything())
		return len(list), err
	}}
}

// Validate asks the webhooks, if there are any.
func (v *validating) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if !v.webhooks.any() {
		return nil
	}
	return v.Plugin.Validate(ctx, a, o)
}
