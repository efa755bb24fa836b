# رسائل العقدة. كل مفتاح هنا موجود في en.ftl أيضًا.
node-described = هذه عقدة تعليمية من منصة فاتح
signed-in = تم تسجيل الدخول
invitation-accepted = تم إنشاء حساب المدير وتسجيل الدخول
user-created = تم إنشاء المستخدم
users-listed = قائمة المستخدمين

not-found = لا يوجد شيء على هذا العنوان
method-not-allowed = هذه الطريقة غير مسموح بها على هذا العنوان
invalid-request = الطلب غير صالح
invalid-json = تعذرت قراءة الطلب: المطلوب نص JSON صحيح بالحقول الموثقة
payload-too-large = الطلب أكبر من الحد المسموح به
unauthenticated = سجّل الدخول أولًا
token-expired = انتهت صلاحية الجلسة، سجّل الدخول من جديد
wrong-credentials = البريد الإلكتروني أو اسم المستخدم أو كلمة المرور غير صحيحة
account-suspended = هذا الحساب موقوف، تواصل مع مدير العقدة
forbidden = ليست لديك صلاحية لهذا الإجراء
invitation-invalid = الدعوة غير صالحة أو انتهت أو استُخدمت من قبل، اطلب دعوة جديدة من إدارة المنصة
username-taken = اسم المستخدم مستخدم من قبل
email-taken = البريد الإلكتروني مستخدم من قبل
overloaded = الخدمة مشغولة الآن، حاول بعد لحظات
timeout = استغرق الطلب وقتًا أطول من المسموح، حاول من جديد
unavailable = الخدمة غير متاحة الآن، حاول بعد لحظات
internal = حدث خطأ غير متوقع

field-username = المطلوب من ٣ إلى ٦٤ حرفًا أو رقمًا أو «.» أو «_» أو «-»، دون مسافات
field-email = المطلوب بريد إلكتروني صحيح مثل student@example.com
field-password = المطلوب ١٢ حرفًا على الأقل و٢٥٦ على الأكثر
field-role = المطلوب student أو instructor أو admin
field-limit = المطلوب عدد من ١ إلى ٢٠٠
field-cursor = المطلوب قيمة nextCursor من الصفحة السابقة
