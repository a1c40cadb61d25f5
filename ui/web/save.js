files => {
    for (const file of files ?? []) {
        const link = document.createElement('a');
        [link.href, link.download] = [file.url, file.orig_name];
        link.click();
    }
}
