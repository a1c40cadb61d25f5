if (new URLSearchParams(window.location.search).has('embed')) {
  document.documentElement.dataset.embed = 'true';
}
