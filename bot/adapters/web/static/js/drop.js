// A file dropped anywhere on the form is chosen and sent at once.
const form = document.querySelector('[data-drop]');
if (form) {
  const input = form.querySelector('input[type=file]');
  const zone = form.querySelector('.drop-zone');
  input.addEventListener('change', () => { if (input.files.length) form.requestSubmit(); });
  form.addEventListener('submit', () => form.setAttribute('aria-busy', 'true'));
  for (const name of ['dragenter', 'dragover']) {
    form.addEventListener(name, (event) => { event.preventDefault(); zone.classList.add('over'); });
  }
  for (const name of ['dragleave', 'drop']) {
    form.addEventListener(name, () => zone.classList.remove('over'));
  }
  form.addEventListener('drop', (event) => {
    event.preventDefault();
    if (event.dataTransfer.files.length) {
      input.files = event.dataTransfer.files;
      form.requestSubmit();
    }
  });
}
